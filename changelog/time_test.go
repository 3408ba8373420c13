package changelog_test

import (
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
)

func TestTimeOf(t *testing.T) {
	const last = changelog.Time(1<<34-1)<<30 | 999_999_999
	berlin := time.FixedZone("CEST", 2*3600)
	for _, c := range []struct {
		in   time.Time
		want changelog.Time
	}{
		{time.Unix(0, 0), 0},
		{time.Unix(0, 1), 1},
		{time.Unix(1, 0), 1 << 30},
		{time.Unix(5, 999_999_999), 5<<30 | 999_999_999},
		{time.Date(2026, 9, 21, 14, 13, 20, 123456789, time.UTC), 1790000000<<30 | 123456789},
		{time.Date(2026, 9, 21, 16, 13, 20, 123456789, berlin), 1790000000<<30 | 123456789},
		{time.Unix(-1, 999_999_999), 0},
		{time.Time{}, 0},
		{time.Unix(1<<34-1, 999_999_999), last},
		{time.Unix(1<<34, 0), last},
		{time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), last},
	} {
		same(t, "TimeOf "+c.in.String(), changelog.TimeOf(c.in), c.want)
	}
}

func TestTimeParts(t *testing.T) {
	for in, want := range map[changelog.Time][2]int64{
		0:                      {0, 0},
		1<<30 - 1:              {0, 1<<30 - 1},
		1 << 30:                {1, 0},
		1<<64 - 1:              {1<<34 - 1, 1<<30 - 1},
		1790000000<<30 | 5:     {1790000000, 5},
		1790000000<<30 | 1<<29: {1790000000, 1 << 29},
	} {
		sec, nsec := in.Unix()
		same(t, "Unix", [2]int64{sec, nsec}, want)
		same(t, "Time", in.Time(), time.Unix(sec, nsec).UTC())
		same(t, "zone", in.Time().Location(), time.UTC)
	}
}

func TestTimeRoundTrip(t *testing.T) {
	for _, sec := range []int64{0, 1, 59, 951782400, 1790000000, 1<<34 - 1} {
		for _, nsec := range []int64{0, 1, 999_999_999} {
			in := time.Unix(sec, nsec).UTC()
			same(t, "there and back", changelog.TimeOf(in).Time(), in)
		}
	}
}

// The printed times are compared with package time; the golden data have few.
func TestTimePrinted(t *testing.T) {
	for sec := int64(0); sec < 1<<34; sec += 7_654_321 {
		in := time.Unix(sec, sec%1_000_000_000).UTC()
		r := pack(t, changelog.Fields{Time: changelog.TimeOf(in)})
		lfs := "0 00MARK  " + in.Format("15:04:05.000000000 2006.01.02") + " 0x0 t=[0:0x0:0x0]\n"
		same(t, "AppendLFS", string(r.AppendLFS(nil)), lfs)
		json := `{"index":0,"prev":0,"record_type":"MARK","time":"` + in.Format("2006-01-02T15:04:05.000000000Z") + `","flags":0,"marker_flags":0}`
		same(t, "AppendJSON", string(r.AppendJSON(nil, "")), json)
	}
}

// A corrupt record may have more than 10^9 nanoseconds: lfs prints them as they
// are, a time of day cannot.
func TestTimeWithTooManyNanoseconds(t *testing.T) {
	r := pack(t, changelog.Fields{Time: 59<<30 | (1<<30 - 1)})
	same(t, "AppendLFS", string(r.AppendLFS(nil)), "0 00MARK  00:00:59.1073741823 1970.01.01 0x0 t=[0:0x0:0x0]\n")
	same(t, "AppendJSON", string(r.AppendJSON(nil, "")), `{"index":0,"prev":0,"record_type":"MARK","time":"1970-01-01T00:01:00.073741823Z","flags":0,"marker_flags":0}`)
}
