package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/lcapd/lcapd/broker"
	"github.com/lcapd/lcapd/changelog"
)

// ledger keeps account of what each group acknowledged. One goroutine owns it;
// others send it what to note.
type ledger struct {
	notes   chan func()
	done    chan struct{}
	acked   [][][]bool // by group, MDT and index
	cleared []uint64   // by MDT: checked up to there
	left    int        // not yet acknowledged, of all groups
	r       report
}

func newLedger(o options) *ledger {
	l := &ledger{notes: make(chan func()), done: make(chan struct{}), cleared: make([]uint64, o.mdts)}
	for range groupSpecs {
		var mdts [][]bool
		for range o.mdts {
			mdts = append(mdts, make([]bool, o.records+1))
		}
		l.acked = append(l.acked, mdts)
	}
	l.left = len(groupSpecs) * o.mdts * o.records
	go func() {
		defer close(l.done)
		for note := range l.notes {
			note()
		}
	}()
	return l
}

func (l *ledger) close() {
	close(l.notes)
	<-l.done
}

// do has the owner run f.
func (l *ledger) do(f func()) {
	ran := make(chan struct{})
	l.notes <- func() { f(); close(ran) }
	<-ran
}

// took notes a delivery that is going to be acknowledged.
func (l *ledger) took(group int, d *broker.Delivery) {
	var mdt int
	if _, err := fmt.Sscanf(strings.TrimPrefix(d.MDT, "local-MDT"), "%x", &mdt); err != nil {
		panic(err) // the name is ours
	}
	l.do(func() {
		acked := l.acked[group][mdt]
		for s := changelog.NewScanner(d.Records); s.Scan(); {
			l.r.Delivered++
			if i := s.Record().Index(); !acked[i] {
				acked[i] = true
				l.left--
			}
		}
	})
}

// killed ends a member without a word, and counts it.
func (l *ledger) killed(m *broker.Member) {
	_ = m.Leave() // its connection is gone, whatever it says
	l.do(func() { l.r.Kills++ })
}

// checkClear checks that every group has acknowledged what is going to be cleared.
func (l *ledger) checkClear(mdt int, index uint64) {
	l.do(func() {
		for g := range l.acked {
			for i := l.cleared[mdt] + 1; i <= index; i++ {
				if !l.acked[g][mdt][i] {
					l.r.EarlyClears++
					return
				}
			}
		}
		l.cleared[mdt] = index
	})
}

// wait waits until everything is acknowledged and cleared, or nothing moves any more.
func (l *ledger) wait(o options, mdts []broker.MDT) report {
	const patience = 60 * time.Second
	moved, before := time.Now(), -1
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	var r report
	for time.Since(moved) < patience {
		<-look.C
		var left int
		l.do(func() {
			l.r.PeakAnonMiB = max(l.r.PeakAnonMiB, anonMiB())
			left, r = l.left, l.r
		})
		for _, m := range mdts {
			if info, err := m.Source.(*source).log.Info(); err == nil {
				left += int(info.Records)
			}
		}
		if left == 0 {
			break
		}
		if left != before {
			moved, before = time.Now(), left
		}
	}
	l.do(func() { r.Missing = l.left })
	r.Records, r.LimitMiB = o.mdts*o.records, o.memory>>20
	return r
}

// anonMiB is the anonymous memory of this process.
func anonMiB() int64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kib); n == 1 {
			return kib >> 10
		}
	}
	return 0
}
