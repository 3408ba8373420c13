package ingest

import (
	"testing"

	"github.com/lcapd/lcapd/broker/core"
)

func TestCompareWithWhatWasRead(t *testing.T) {
	known := []core.RecordID{{Index: 10, Time: 7}, {Index: 20, Time: 8}, {Index: 30, Time: 6}} // a clock that was set back
	other := core.RecordID{Index: 20, Time: 9}
	for _, test := range []struct {
		name    string
		shown   []core.RecordID
		first   uint64
		cleared uint64
		want    Finding
	}{
		{"all are there", known, 1, 0, Finding{}},
		{"all are there, and nothing before", known, 10, 0, Finding{}},
		{"we cleared some", known[1:], 15, 10, Finding{}},
		{"we cleared all", nil, 0, 30, Finding{Empty: true}},
		{"we cleared all, and there is more", nil, 31, 30, Finding{}},
		{"one is another", []core.RecordID{known[0], other, known[2]}, 1, 0, Finding{Reset: true}},
		{"one is another and was cleared", []core.RecordID{known[0], other, known[2]}, 1, 30, Finding{Reset: true}},
		{"the end is gone", known[:2], 1, 0, Finding{Reset: true}},
		{"the end is gone and was cleared", known[:2], 1, 30, Finding{Reset: true}},
		{"a new log, shorter than what was cleared", nil, 1, 30, Finding{Reset: true}},
		{"the beginning was purged", known[1:], 15, 0, Finding{PurgedTo: 14}},
		{"all was purged", nil, 0, 0, Finding{PurgedTo: 30, Empty: true}},
		{"all was purged, and there is more", nil, 35, 20, Finding{PurgedTo: 34}},
	} {
		shown := make(map[uint64]core.RecordID)
		for _, id := range test.shown {
			shown[id.Index] = id
		}
		if got := compare(shown, test.first, known, test.cleared); got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}
}
