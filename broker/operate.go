package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/state"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/modules"
)

// ErrHasMembers: the group has members; to end it all the same takes force.
var ErrHasMembers = core.ErrHasMembers

// GroupSpec is what a new group is.
type GroupSpec struct {
	Name         string
	Distribution groups.Distribution
	Start        core.Start
	MDTs         []string // none stands for all
	Limits       core.Limits
	Chain        Chain

	windows int64 // what the chain's may hold in each MDT; prepare fills it in
}

// prepare checks what can be checked without the loop, which has no time for it.
func (g *GroupSpec) prepare(o Options) error {
	chain, err := o.chainOf(g.Name, g.Chain).Canonical()
	if err == nil {
		var plan *modules.Plan
		if plan, err = o.Plan(chain, g.Distribution); err == nil {
			g.Chain, g.windows = chain, plan.Windows()
			return nil
		}
	}
	return fmt.Errorf("group %s: %w: %w", g.Name, ErrChain, err)
}

// ErrChain: the filter or the modules of a group are none that can run.
var ErrChain = errors.New("its filter or modules cannot be")

// CreateGroup makes a group and returns when it is on disk. Errors:
// [core.ErrGroupExists], [core.ErrUnknownMDT], [ErrChain].
func (b *Broker) CreateGroup(ctx context.Context, g GroupSpec) error {
	if err := g.prepare(b.opts); err != nil {
		return err
	}
	stored := make(chan struct{})
	err := b.operate(ctx, func(l *loop) error {
		if err := l.createGroup(g); err != nil {
			return err
		}
		l.storing[g.Name] = append(l.storing[g.Name], stored)
		return nil
	})
	if err != nil {
		return fmt.Errorf("create group: %w", err)
	}
	return b.untilStored(ctx, stored)
}

// untilStored waits for a group to be on disk.
func (b *Broker) untilStored(ctx context.Context, stored <-chan struct{}) error {
	select {
	case <-stored:
		return nil
	case <-b.done:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// operate runs an operator's request in the loop.
func (b *Broker) operate(ctx context.Context, do func(l *loop) error) error {
	var refused error
	err := b.call(ctx, func(l *loop) { refused = do(l) })
	return firstError(err, refused)
}

func (l *loop) createGroup(g GroupSpec) error {
	if err := state.CheckName("group", g.Name); err != nil {
		return err // the state would refuse it, and all that is written with it
	}
	mdts, err := l.numbersOf(g.MDTs)
	if err != nil {
		return err
	}
	cfg, chain := l.b.opts.groupConfig(g.Name, g.Distribution), l.b.opts.chainOf(g.Name, g.Chain)
	st := core.GroupState{Config: cfg, Start: g.Start, Limits: l.b.opts.limitsOf(g.Name, g.Limits), Filter: chain.Filter, Modules: chain.Modules, Consumers: chain.Consumers, MDTs: mdts}
	use, known := l.windows[g.Name]
	if !known {
		use = l.windowUse(st, g.windows)
	}
	if err := l.mayHold(use); err != nil {
		return err
	}
	if err := l.core.Do(core.CreateGroup{GroupState: st}); err != nil {
		return err
	}
	l.windows[g.Name] = use
	return nil
}

// limitsOf returns the limits of a group: what the configuration says of it wins.
func (o Options) limitsOf(name string, own core.Limits) core.Limits {
	if limits, named := o.GroupLimits[name]; named {
		return limits
	}
	return own
}

// chainOf returns the filter and the modules of a group: what the configuration says of it wins.
func (o Options) chainOf(name string, own Chain) Chain {
	if chain, named := o.GroupChains[name]; named {
		if canonical, err := chain.Canonical(); err == nil {
			chain = canonical // else nothing of the group is handed out, and a problem says why
		}
		return chain
	}
	return own
}

// groupConfig completes what is the group's own by what is the same for all.
func (o Options) groupConfig(name string, d groups.Distribution) groups.Config {
	cfg, limits := o.Groups, o.Own[name]
	cfg.Name, cfg.Distribution = name, d
	cfg.CreditBatches, cfg.CreditBytes = MaxCredit, MaxCreditBytes
	cfg.InFlight = cmp.Or(limits.InFlight, cfg.InFlight)
	cfg.AckTimeout = cmp.Or(limits.AckTimeout, cfg.AckTimeout)
	cfg.MaxDeliveries = cmp.Or(limits.MaxDeliveries, cfg.MaxDeliveries)
	return cfg
}

// groupStored tells who waits for it that a group is on disk.
func (l *loop) groupStored(name string) {
	for _, c := range l.storing[name] {
		close(c)
	}
	delete(l.storing, name)
}

// DeleteGroup ends a group and its hold on the changelogs. Errors:
// [core.ErrUnknownGroup]; [ErrHasMembers] unless force.
func (b *Broker) DeleteGroup(ctx context.Context, name string, force bool) error {
	return b.operate(ctx, func(l *loop) error {
		for _, p := range l.peers {
			if p.group == name && !force {
				return fmt.Errorf("delete group %s: %w: disconnect them, or use --force", name, ErrHasMembers)
			}
		}
		l.groupStored(name) // who waits for it to be on disk waits in vain
		l.forgetTallies(name)
		if _, named := l.b.opts.GroupChains[name]; !named { // else it comes again
			delete(l.windows, name)
		}
		return l.core.Do(core.DeleteGroup{Group: name})
	})
}

// PauseGroup stops all hand-out of a group, or lets it go on. [core.ErrUnknownGroup].
func (b *Broker) PauseGroup(ctx context.Context, name string, paused bool) error {
	return b.operate(ctx, func(l *loop) error {
		return l.core.Do(core.PauseGroup{Group: name, Paused: paused})
	})
}

// ErrConfigured: the configuration says it, so it has to be changed there.
var ErrConfigured = errors.New("the configuration says it")

// LimitGroup sets when a group counts as abandoned. Errors: [core.ErrUnknownGroup],
// [ErrConfigured].
func (b *Broker) LimitGroup(ctx context.Context, name string, limits core.Limits) error {
	return b.operate(ctx, func(l *loop) error {
		if _, named := l.b.opts.GroupLimits[name]; named {
			return fmt.Errorf("limits of group %s: %w: change it there, and start lcapd anew", name, ErrConfigured)
		}
		return l.core.Do(core.SetLimits{Group: name, Limits: limits})
	})
}

// SetChain changes what is done with records before a group is handed them, and returns when
// that is on disk. Errors: [core.ErrUnknownGroup]; [ErrHasMembers]; [ErrChain]; [ErrConfigured].
func (b *Broker) SetChain(ctx context.Context, name string, c Chain) error {
	if _, named := b.opts.GroupChains[name]; named {
		return fmt.Errorf("filter and modules of group %s: %w: change them there, and start lcapd anew", name, ErrConfigured)
	}
	var g core.GroupState
	known := false
	if err := b.call(ctx, func(l *loop) { g, known = l.core.Group(name) }); err != nil {
		return err
	}
	if !known {
		return fmt.Errorf("%w %q", core.ErrUnknownGroup, name)
	}
	spec := GroupSpec{Name: name, Distribution: g.Config.Distribution, Chain: c}
	if err := spec.prepare(b.opts); err != nil {
		return err
	}
	stored := make(chan struct{})
	err := b.operate(ctx, func(l *loop) error {
		use := l.windowUse(g, spec.windows)
		if err := l.mayHold(use); err != nil {
			return err
		}
		err := l.core.Do(core.SetChain{Group: name, Filter: spec.Chain.Filter, Modules: spec.Chain.Modules, Consumers: spec.Chain.Consumers})
		switch {
		case errors.Is(err, ErrHasMembers):
			return fmt.Errorf("%w: end them first: lcapcli members %s", err, name)
		case err == nil:
			l.windows[name] = use
			l.storing[name] = append(l.storing[name], stored)
			l.forgetTallies(name)
		}
		return err
	})
	if err != nil {
		return err
	}
	return b.untilStored(ctx, stored)
}

// Seek has a group go on behind an index of an MDT; its leases there end. Errors:
// [core.ErrUnknownGroup], [core.ErrUnknownMDT], [core.ErrBelowClear].
func (b *Broker) Seek(ctx context.Context, group, mdt string, index uint64) error {
	return b.onMDT(ctx, mdt, func(id groups.MDT) core.Request { return core.Seek{Group: group, MDT: id, Index: index} })
}

// SeekTo has a group go on where a new one would start, in an MDT or, without a name,
// in all that it is for. Errors: [core.ErrUnknownGroup], [core.ErrUnknownMDT].
func (b *Broker) SeekTo(ctx context.Context, group, mdt string, start core.Start) error {
	return b.operate(ctx, func(l *loop) error {
		g, ok := l.core.Group(group)
		if !ok {
			return fmt.Errorf("%w %q", core.ErrUnknownGroup, group)
		}
		ids, err := l.seekIn(g, mdt)
		for _, id := range ids {
			if err == nil {
				err = l.core.Do(core.Seek{Group: group, MDT: id, Index: l.core.StartOf(id, start)})
			}
		}
		return err
	})
}

// seekIn lists the MDTs that an operator means: one by its name, or all of the group.
func (l *loop) seekIn(g core.GroupState, mdt string) (ids []groups.MDT, err error) {
	if mdt != "" {
		id, err := l.numberOf(mdt)
		return []groups.MDT{id}, err
	}
	for _, w := range l.mdts {
		if g.MDTs == nil || slices.Contains(g.MDTs, w.id) {
			ids = append(ids, w.id)
		}
	}
	return ids, nil
}

// Skip has a group pass over one record. Errors: [core.ErrUnknownGroup],
// [core.ErrUnknownMDT], [groups.ErrAcknowledged].
func (b *Broker) Skip(ctx context.Context, group, mdt string, index uint64) error {
	return b.onMDT(ctx, mdt, func(id groups.MDT) core.Request { return core.Skip{Group: group, MDT: id, Index: index} })
}

// Restart has an MDT read again whose reader was stopped by bad records.
// [core.ErrUnknownMDT].
func (b *Broker) Restart(ctx context.Context, mdt string) error {
	return b.onMDT(ctx, mdt, func(id groups.MDT) core.Request { return core.Restart{MDT: id} })
}

func (b *Broker) onMDT(ctx context.Context, mdt string, request func(groups.MDT) core.Request) error {
	return b.operate(ctx, func(l *loop) error {
		id, err := l.numberOf(mdt)
		if err != nil {
			return err
		}
		return l.core.Do(request(id))
	})
}

// Groups returns what the groups are, for who compares them with a configuration.
func (b *Broker) Groups(ctx context.Context) (list []core.GroupState, err error) {
	err = b.call(ctx, func(l *loop) {
		for _, g := range l.core.Snapshot().Groups {
			if state, ok := l.core.Group(g.Name); ok {
				list = append(list, state)
			}
		}
	})
	return list, err
}

// AllowCreation says whether a join may make a group that does not exist.
func (b *Broker) AllowCreation(ctx context.Context, allowed bool) error {
	return b.call(ctx, func(l *loop) { l.mayCreate = allowed })
}

// Drain stops all hand-out, and waits until members have acknowledged what they have,
// or ctx ends. Nothing is handed out any more afterwards; Run should be ended.
func (b *Broker) Drain(ctx context.Context) error {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		leases := 0
		if err := b.call(ctx, func(l *loop) { leases = l.core.Drain() }); err != nil {
			return err
		}
		if leases == 0 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%d leases are not acknowledged: %w", leases, context.Cause(ctx))
		}
	}
}
