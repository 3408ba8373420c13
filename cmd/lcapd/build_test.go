package main

import (
	"testing"

	"github.com/lcapd/lcapd/broker"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/config"
)

// What the configuration allows can be delivered to a member with the most credit, in a frame as
// clients take it by default, and what readers hold of it stays within the memory.
func TestBatches(t *testing.T) {
	const frame = 4 << 20 // docs/protocol.md, section 10
	if config.MaxBatch > min(frame, broker.MaxCreditBytes) || config.MaxChangedBatch/changelog.HeaderSize*changelog.MaxRecordSize > frame {
		t.Errorf("batches of %d bytes, or of %d before they are changed, cannot be delivered", config.MaxBatch, config.MaxChangedBatch)
	}
	for _, tt := range []struct {
		batch   int64
		modules string
		want    int64
	}{
		{config.MinBatch, "", config.MinBatch},
		{config.MaxBatch, "", config.MaxBatch},
		{0, "", ingest.DefaultBatchBytes},
		{0, `[{"project":{}}]`, config.MaxChangedBatch},
	} {
		cfg := *config.Default()
		cfg.Batch, cfg.Everybody.Modules = tt.batch, tt.modules
		o := (&daemon{cfg: &cfg}).brokerOptions(make([]broker.MDT, 4))
		if int64(o.BatchBytes) != tt.want || o.Limits.Grant < tt.want {
			t.Errorf("of %d bytes with modules %q come batches of %d, with a grant of %d", tt.batch, tt.modules, o.BatchBytes, o.Limits.Grant)
		}
		readers := 4 * ingest.Options{BatchBytes: o.BatchBytes}.Footprint() * 2
		if sum := o.Limits.Memory + o.History + o.Views + readers; sum > cfg.Memory {
			t.Errorf("with batches of %d bytes %d are taken of %d", o.BatchBytes, sum, cfg.Memory)
		}
	}
}
