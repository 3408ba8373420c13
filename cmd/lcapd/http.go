package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/pprof"
	"regexp"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lcapd/lcapd/wire"
)

// serveHTTP serves metrics, health and status until ctx ends.
func (d *daemon) serveHTTP(ctx context.Context, started *sync.WaitGroup) {
	if d.http == nil {
		return
	}
	server := &http.Server{
		Handler: d.handler(), ReadTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	started.Go(func() {
		if err := server.Serve(d.http); err != nil && !errors.Is(err, http.ErrServerClosed) {
			d.log.Error().Err(err).Msg("metrics are no longer served")
		}
	})
	started.Go(func() {
		<-ctx.Done()
		_ = server.Close() // who is reading metrics reads them again
	})
}

// runtimeMetrics are those of Go's runtime that are served besides the usual ones: what
// the garbage collector costs, and what it found to be in use.
var runtimeMetrics = []collectors.GoRuntimeMetricsRule{
	{Matcher: regexp.MustCompile(`^/cpu/classes/(gc/total|gc/mark/idle|scavenge/total|user):cpu-seconds$`)},
	{Matcher: regexp.MustCompile(`^/gc/heap/live:bytes$`)},
}

// handler serves:
//
//	/metrics  for Prometheus
//	/healthz  200 while the broker answers
//	/readyz   200 while it can serve, 503 and why if not
//	/status   what lcapcli status shows, as JSON
//
// and, if the configuration says so, Go's profiles at /debug/pprof/.
func (d *daemon) handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(runtimeMetrics...)), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), d.refusals, &collector{d})
	mux := http.NewServeMux()
	if d.cfg.Profile {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index) // heap, goroutine, allocs ...
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		d.answer(w, r, func(wire.Status) bool { return true })
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		d.answer(w, r, func(s wire.Status) bool { return s.Ready })
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		s, err := d.status(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s) // the client is gone
	})
	return mux
}

// answer says ok, or lists what is wrong.
func (d *daemon) answer(w http.ResponseWriter, r *http.Request, good func(wire.Status) bool) {
	s, err := d.status(r.Context())
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case good(s):
		_, _ = w.Write([]byte("ok\n")) // the client is gone
	default:
		w.WriteHeader(http.StatusServiceUnavailable)
		for _, p := range s.Problems {
			_, _ = w.Write([]byte(p.About + ": " + p.Text + "\n")) // likewise
		}
	}
}

// status asks the broker; one that does not answer in time is not well.
func (d *daemon) status(ctx context.Context) (wire.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := d.broker.Status(ctx)
	s.Version, s.Broker = version, d.id
	return s, err
}
