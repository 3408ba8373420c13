package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/tetratelabs/wazero"

	"github.com/lcapd/lcapd/broker"
	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/broker/state"
	"github.com/lcapd/lcapd/config"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/modules"
	"github.com/lcapd/lcapd/modules/wasm"
	"github.com/lcapd/lcapd/serve"
	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/upstream"
)

// daemon is all that a configuration asks for, built and not yet running. Nothing here
// changes while it runs, but for what the parts own themselves.
type daemon struct {
	cfg       *config.Config
	log       zerolog.Logger
	id        string // of the state
	bell      *llog.Bell
	store     *state.Store
	workloads []workload
	watches   []watched
	repeats   []repeated
	broker    *broker.Broker
	serve     *serve.Server
	server    *transport.Server
	http      net.Listener // nil for none
	refusals  *prometheus.CounterVec
}

// workload is a producer and where it appends to.
type workload struct {
	mdt      string
	producer *upstream.Workload
	to       *llog.Appender
	pace     upstream.Pace
}

// build builds a daemon of the configuration in a file, or elsewhere if that is empty. What it has
// opened when it fails is closed.
func build(ctx context.Context, file string, cfg *config.Config, log zerolog.Logger) (d *daemon, err error) {
	d = &daemon{cfg: cfg, log: log, refusals: newRefusals()}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if len(cfg.Upstream) == 0 {
		return d, usageError{errNoUpstream}
	}
	warnOfLimits(cfg, os.DirFS("/"), log)
	if d.store, err = openState(ctx, cfg.State); err != nil {
		return d, stateError(cfg.State, err)
	}
	snapshot, err := d.store.Load()
	if err != nil {
		return d, stateError(cfg.State, err)
	}
	d.id = snapshot.Identity.ID
	wrong := append(agree(cfg, snapshot), checkChains(cfg, snapshot.Groups)...)
	if err := errors.Join(wrong...); err != nil {
		if file != "" {
			err = fmt.Errorf("%s: %w", file, err)
		}
		return d, usageError{err}
	}
	for _, text := range leftBehind(cfg, snapshot.Identity) {
		log.Warn().Msg(text)
	}
	if d.bell, err = llog.NewBell(); err != nil {
		return d, err
	}
	mdts, err := d.sources(ctx)
	if err != nil {
		return d, err
	}
	d.broker = broker.New(d.brokerOptions(mdts))
	d.serve = serve.New(serve.Options{
		Broker: d.broker, ID: d.id, Version: version, Heartbeat: cfg.Heartbeat, MaxFrame: int(cfg.Limits.Frame), Log: log,
		Count: func(what string) { d.refusals.WithLabelValues(what).Inc() },
	})
	if d.server, err = transport.Listen(d.transportOptions(), endpoints(cfg)...); err != nil {
		return d, usageError{listenError(err, file)}
	}
	if d.http, err = listenHTTP(cfg); err != nil {
		return d, usageError{err}
	}
	return d, nil
}

var errNoUpstream = errors.New("no MDT is configured: add one under upstream; 'lcapd config' shows how")

// listenError says what to do about an address that cannot be served: without a file a flag named it.
func listenError(err error, file string) error {
	remedy := "change listen in the configuration"
	if file == "" {
		remedy = "name another address with --listen"
	}
	switch {
	case errors.Is(err, transport.ErrAddressInUse):
		remedy = "is another lcapd running? otherwise " + remedy
	case errors.Is(err, fs.ErrNotExist):
		remedy = "make the directory, or " + remedy
	case errors.Is(err, fs.ErrPermission):
		remedy = "let lcapd write there, or " + remedy
	}
	return fmt.Errorf("%w; %s", err, remedy)
}

// parseFlags reads a configuration that was made from flags. A mistake in it is one of a flag.
func parseFlags(text []byte) (*config.Config, error) {
	const name = "flags" // a file that does not exist
	cfg, err := config.Parse(name, text)
	var bad *config.Errors
	if !errors.As(err, &bad) || bad.Problems[0].File != name {
		return cfg, err
	}
	p := bad.Problems[0]
	key := p.Key
	if strings.HasPrefix(key, "upstream[") {
		_, key, _ = strings.Cut(key, ".")
	}
	flag, _, _ := strings.Cut(key, "[")
	return nil, usageError{fmt.Errorf("--%s %s: allowed: %s", flag, p.Value, p.Allowed)}
}

// listenHTTP opens the address of metrics, if there is one.
func listenHTTP(cfg *config.Config) (net.Listener, error) {
	if cfg.HTTP == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", cfg.HTTP)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("http %s: address in use; is another lcapd running? otherwise change http in the configuration", cfg.HTTP)
	case err != nil:
		return nil, fmt.Errorf("http %s: %w; change http in the configuration", cfg.HTTP, err)
	}
	return l, nil
}

// openState opens the state. Who is killed takes a moment to be gone: so long it waits for
// a state that is in use.
func openState(ctx context.Context, dir string) (s *state.Store, err error) {
	const patience, between = 2 * time.Second, 50 * time.Millisecond
	for end := time.Now().Add(patience); ; {
		s, err = state.Open(dir)
		if !errors.Is(err, state.ErrLocked) || time.Now().After(end) {
			return s, err
		}
		select {
		case <-time.After(between):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// close gives back what was opened. It comes last.
func (d *daemon) close() error {
	var errs []error
	if d.server != nil {
		d.server.Close()
	}
	if d.http != nil {
		_ = d.http.Close() // the HTTP server may have done it
	}
	for _, w := range d.workloads {
		errs = append(errs, w.to.Close())
	}
	for _, w := range d.watches {
		errs = append(errs, w.Close())
	}
	for _, r := range d.repeats {
		errs = append(errs, r.from.Close())
	}
	if d.bell != nil {
		errs = append(errs, d.bell.Close())
	}
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	return errors.Join(errs...)
}

// source fits a source of package upstream to the broker, which does not know it.
type source struct{ upstream.Source }

// Open implements [broker.Source].
func (s source) Open(ctx context.Context, start uint64) (broker.Reader, error) {
	return s.Source.Open(ctx, start)
}

// sources opens the MDTs.
func (d *daemon) sources(ctx context.Context) ([]broker.MDT, error) {
	var mdts []broker.MDT
	for _, u := range d.cfg.Upstream {
		s, err := d.source(ctx, u)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", u.MDT, err)
		}
		m := broker.MDT{Name: u.MDT, User: userOf(u), Source: source{s}}
		if r, can := s.(interface {
			Registered(context.Context) (bool, error)
		}); can {
			m.Registered = r.Registered
		}
		mdts = append(mdts, m)
	}
	return mdts, nil
}

func (d *daemon) source(ctx context.Context, u config.Upstream) (upstream.Source, error) {
	switch u.Driver {
	case config.DriverLLog:
		s, err := upstream.OpenLLog(u.Path, u.MDT, u.User, d.bell)
		if err != nil {
			return nil, usageError{err}
		}
		return s, nil
	case config.DriverDevice:
		s, err := deviceSource(d.cfg, u)
		if err != nil {
			return nil, usageError{err}
		}
		return s, nil
	case config.DriverWorkload:
		return d.workload(ctx, u)
	case config.DriverWatch:
		return d.watch(ctx, u)
	case config.DriverMemory:
		return d.repeat(u)
	}
	return nil, usageError{fmt.Errorf("the driver %s is not in this version of lcapd", u.Driver)}
}

// workload makes the log that a workload fills, or goes on with it.
func (d *daemon) workload(ctx context.Context, u config.Upstream) (upstream.Source, error) {
	spool, err := upstream.Spool(ctx, filepath.Join(d.cfg.State, "workload-"+u.MDT), u.MDT, d.bell)
	if err != nil {
		return nil, err
	}
	info, err := spool.Log().Info()
	if err != nil {
		return nil, err
	}
	number, err := upstream.MDTNumber(u.MDT)
	if err != nil {
		return nil, usageError{err}
	}
	to, err := spool.Log().NewAppender(llog.AppendOptions{Sync: llog.SyncEvery(time.Second)})
	if err != nil {
		return nil, err
	}
	producer := upstream.NewWorkload(upstream.WorkloadOptions{Seed: u.Seed, MDT: number})
	producer.Skip(info.Current)
	w := workload{mdt: u.MDT, producer: producer, to: to, pace: upstream.Pace{Rate: u.Rate}}
	if u.Records > 0 {
		w.pace.Records = uint64(u.Records) - min(uint64(u.Records), info.Current)
	}
	if u.Records == 0 || w.pace.Records > 0 {
		d.workloads = append(d.workloads, w)
	} else if err := to.Close(); err != nil {
		return nil, err
	}
	return spool, nil
}

// brokerOptions shares out the memory: an eighth is kept for listeners, a sixteenth for
// what is filtered or cut for those who want less, what readers
// need for themselves is set aside, the rest is for batches.
func (d *daemon) brokerOptions(mdts []broker.MDT) broker.Options {
	cfg := d.cfg
	limits := core.DefaultConfig
	history, views := cfg.Memory/8, cfg.Memory/16
	batch := batchBytes(cfg, len(mdts))
	readers := int64(len(mdts)) * ingest.Options{BatchBytes: batch}.Footprint() * 2
	limits.Memory = cfg.Memory - history - views - min(readers, cfg.Memory/4)
	limits.Pinned = limits.Memory / 4
	limits.Grant = max(limits.Grant, 2*int64(batch)) // one batch is read while another is taken in
	limits.ClearWithoutGroups = cfg.ClearWithoutGroups
	own, groupLimits, chains := make(map[string]groups.Config), make(map[string]core.Limits), make(map[string]broker.Chain)
	for _, g := range cfg.Groups {
		own[g.Name] = groups.Config{InFlight: g.InFlight, AckTimeout: g.AckTimeout, MaxDeliveries: g.MaxDeliveries}
		groupLimits[g.Name] = core.Limits{Backlog: g.MaxBacklog, Idle: g.MaxIdle, Expire: g.Abandoned == config.ExpireAbandoned}
		chains[g.Name] = chainOf(g)
	}
	return broker.Options{
		Limits: limits, MDTs: mdts, Memory: cfg.Memory, History: history, Views: views, Own: own, GroupLimits: groupLimits, GroupChains: chains, StuckAfter: cfg.Heartbeat,
		Groups:  groups.Config{InFlight: cfg.Limits.InFlight, Lease: cfg.Lease},
		Modules: moduleKinds(), OneMDT: cfg.OneMDT, Everybody: everybodyOf(cfg),
		BatchBytes:   batch,
		AssumeEmpty:  cfg.UnknownExtra == config.AssumeEmpty,
		CreateGroups: cfg.CreateGroups, Store: d.store, Log: d.log,
	}
}

// batchBytes is how large batches may be: as the configuration has it, or else by memory and MDTs.
func batchBytes(cfg *config.Config, mdts int) int {
	switch {
	case cfg.Batch > 0:
		return int(cfg.Batch)
	case cfg.Everybody.Modules != "":
		return min(broker.BatchBytes(cfg.Memory, mdts), config.MaxChangedBatch)
	}
	return broker.BatchBytes(cfg.Memory, mdts)
}

func (d *daemon) transportOptions() transport.Options {
	return transport.Options{
		MaxConns: d.cfg.Limits.Connections, MaxPerAddress: d.cfg.Limits.PerAddress, MaxFrame: int(d.cfg.Limits.Frame),
		QueueMessages: 2 * broker.MaxCredit, QueueBytes: 2 * broker.MaxCreditBytes,
		IdleTimeout: max(2*time.Minute, 2*d.cfg.Lease),
	}
}

func endpoints(cfg *config.Config) []transport.Endpoint {
	var list []transport.Endpoint
	for _, l := range cfg.Listen {
		e := transport.Endpoint{Addr: l.Address.String()}
		for _, r := range []struct {
			config config.Roles
			role   transport.Role
		}{
			{config.RoleListen, transport.RoleListen},
			{config.RoleConsume, transport.RoleConsume},
			{config.RoleOperate, transport.RoleOperate},
		} {
			if l.Allow.Has(r.config) {
				e.Allow |= r.role
			}
		}
		list = append(list, e)
	}
	return list
}

// agree compares the configuration with what is stored, and returns all differences that
// must not be.
func agree(cfg *config.Config, snapshot state.Snapshot) (differ []error) {
	if isOther(cfg, snapshot.Identity) {
		names := make([]string, 0, len(snapshot.Identity.Upstream))
		for _, is := range snapshot.Identity.Upstream {
			names = append(names, is.MDT)
		}
		return []error{fmt.Errorf("it is the state of the file system %s, with %s, and the configuration has none of its MDTs: name the right state directory, or begin anew with another one",
			snapshot.Identity.FileSystem, mdtsOf(names))}
	}
	for _, u := range cfg.Upstream {
		for _, is := range snapshot.Identity.Upstream {
			if is.MDT == u.MDT && is.User != userOf(u) {
				differ = append(differ, fmt.Errorf("%s: the state says that lcapd is its changelog user %s, the configuration %s; what was acknowledged as the one says nothing about the other: change the configuration, or begin anew with another state directory",
					u.MDT, is.User, userOf(u)))
			}
		}
	}
	for _, want := range cfg.Groups {
		for _, g := range snapshot.Groups {
			if g.Name != want.Name {
				continue
			}
			is := fmt.Sprintf("%s from %s for %s", g.Distribution, g.Start, mdtsOf(g.MDTs))
			if wants := fmt.Sprintf("%s from %s for %s", want.Distribution, want.Start, mdtsOf(want.MDTs)); is != wants {
				differ = append(differ, fmt.Errorf("group %s: the state says %s, the configuration %s; change the configuration or, to give up the place of the group, leave it out there, start lcapd, and then: lcapcli groups delete %s",
					g.Name, is, wants, g.Name))
			}
		}
	}
	return differ
}

// isOther tells whether a state is that of another installation. MDTs may come and go, but not all at once.
func isOther(cfg *config.Config, id state.Identity) bool {
	if len(cfg.Upstream) == 0 || len(id.Upstream) == 0 {
		return false
	}
	return !slices.ContainsFunc(cfg.Upstream, func(u config.Upstream) bool {
		return slices.ContainsFunc(id.Upstream, func(is state.Upstream) bool { return is.MDT == u.MDT })
	})
}

// leftBehind says of each MDT that the state knows, and the configuration does not, what becomes of it.
func leftBehind(cfg *config.Config, id state.Identity) (said []string) {
	for _, is := range id.Upstream {
		if !slices.ContainsFunc(cfg.Upstream, func(u config.Upstream) bool { return u.MDT == is.MDT }) {
			said = append(said, fmt.Sprintf("%s is not under upstream any more, and lcapd was changelog user %s there: nothing is cleared for that user, so the changelog grows; deregister %s on that MDT, or add the MDT again",
				is.MDT, is.User, is.User))
		}
	}
	return said
}

func mdtsOf(names []string) string {
	if len(names) == 0 {
		return "all MDTs"
	}
	return strings.Join(slices.Sorted(slices.Values(names)), ",")
}

// specOf is a group of the configuration for the broker.
func specOf(g config.Group) broker.GroupSpec {
	spec := broker.GroupSpec{Name: g.Name, MDTs: g.MDTs, Chain: chainOf(g)}
	for _, d := range []groups.Distribution{groups.RoundRobin, groups.ByMDT, groups.ByFID} {
		if d.String() == string(g.Distribution) {
			spec.Distribution = d
		}
	}
	if g.Start == config.Earliest {
		spec.Start = core.Earliest
	}
	return spec
}

func chainOf(g config.Group) broker.Chain {
	return broker.Chain{Filter: g.Filter, Modules: g.Modules, Consumers: string(g.Consumers)}
}

// everybodyOf is what all records pass.
func everybodyOf(cfg *config.Config) broker.Chain {
	x := cfg.Everybody
	return broker.Chain{Filter: x.Filter, Modules: x.Modules, Consumers: string(x.Consumers)}
}

// moduleKinds are the modules that groups may have. What is compiled of WebAssembly is kept
// until lcapd ends.
func moduleKinds() []modules.Kind {
	return append(modules.Builtin(), wasm.Kind(wazero.NewCompilationCache()))
}

// checkChains looks whether the filters and modules for everybody and of the configured groups
// can run, and whether their windows fit into the memory beside those of the groups that are
// stored.
func checkChains(cfg *config.Config, stored []state.Group) (wrong []error) {
	o := broker.Options{Modules: moduleKinds(), OneMDT: cfg.OneMDT}
	if _, err := o.PlanEverybody(everybodyOf(cfg)); err != nil {
		wrong = append(wrong, fmt.Errorf("ingest: %w", err))
	}
	var uses []broker.WindowUse
	configured := make(map[string]bool)
	for i, g := range cfg.Groups {
		spec := specOf(g)
		configured[g.Name] = true
		plan, err := o.Plan(spec.Chain, spec.Distribution)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("groups[%d] (%s): %w", i, g.Name, err))
			continue
		}
		uses = append(uses, broker.WindowUse{Group: fmt.Sprintf("groups[%d] (%s)", i, g.Name), Bytes: plan.Windows(), MDTs: servedOf(cfg, g.MDTs)})
	}
	for _, g := range stored {
		plan, err := o.Plan(broker.Chain{Filter: g.Filter, Modules: g.Chain, Consumers: g.Consumers}, g.Distribution)
		if err == nil && !configured[g.Name] { // one that cannot run keeps its group waiting, and a problem says so
			uses = append(uses, broker.WindowUse{Group: "the stored group " + g.Name, Bytes: plan.Windows(), MDTs: servedOf(cfg, g.MDTs)})
		}
	}
	if err := broker.FitWindows(cfg.Memory, uses...); err != nil {
		wrong = append(wrong, fmt.Errorf("memory: %w", err))
	}
	return wrong
}

// servedOf counts the MDTs of a configuration that a group is for, which names some or, with none,
// all of them.
func servedOf(cfg *config.Config, names []string) (n int) {
	for _, u := range cfg.Upstream {
		if len(names) == 0 || slices.Contains(names, u.MDT) {
			n++
		}
	}
	return n
}

// newLogger returns the log that a configuration asks for. The level is that of the
// whole program, and may change while it runs.
func newLogger(cfg *config.Config, to io.Writer) (zerolog.Logger, error) {
	level, err := zerolog.ParseLevel(cfg.LogLevel)
	if err != nil {
		return zerolog.Logger{}, usageError{fmt.Errorf("log.level: %w", err)}
	}
	zerolog.SetGlobalLevel(level)
	if cfg.LogFormat == "console" {
		to = zerolog.ConsoleWriter{Out: to, TimeFormat: time.DateTime, NoColor: true}
	}
	return zerolog.New(to).With().Timestamp().Logger(), nil
}
