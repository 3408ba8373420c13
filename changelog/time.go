package changelog

import (
	"strconv"
	"time"
)

// Time is the packed time of a record: seconds since 1970 UTC in the upper 34
// bits, nanoseconds in the lower 30 (ABI 1.3). It is the server's clock when the
// record was built and is not monotonic in the order of indexes.
type Time uint64

const timeNanos = 1<<30 - 1

// TimeOf packs t. Times before 1970 become 0, times past the year 2514 the last
// one that fits.
func TimeOf(t time.Time) Time {
	const lastSecond = 1<<34 - 1
	switch s := t.Unix(); {
	case s < 0:
		return 0
	case s > lastSecond:
		return lastSecond<<30 | 999_999_999
	default:
		return Time(s)<<30 | Time(t.Nanosecond())
	}
}

// Unix returns seconds since 1970 UTC and nanoseconds. A corrupt record may show
// nanoseconds up to 2^30-1.
func (t Time) Unix() (sec, nsec int64) { return int64(t >> 30), int64(t & timeNanos) }

// Time returns t as UTC time.
func (t Time) Time() time.Time { return time.Unix(t.Unix()).UTC() }

// appendRFC3339 appends t with all nine digits of the nanoseconds.
func (t Time) appendRFC3339(dst []byte) []byte {
	return t.Time().AppendFormat(dst, "2006-01-02T15:04:05.000000000Z07:00")
}

// appendLFS appends "HH:MM:SS.nnnnnnnnn YYYY.MM.DD" (ABI 11).
func (t Time) appendLFS(dst []byte) []byte {
	sec, nsec := t.Unix()
	std := time.Unix(sec, 0).UTC()
	year, month, day := std.Date()
	hour, minute, second := std.Clock()
	dst = append(appendPadded(dst, uint64(hour), 2), ':')
	dst = append(appendPadded(dst, uint64(minute), 2), ':')
	dst = append(appendPadded(dst, uint64(second), 2), '.')
	dst = append(appendPadded(dst, uint64(nsec), 9), ' ')
	dst = append(appendPadded(dst, uint64(year), 4), '.')
	dst = append(appendPadded(dst, uint64(month), 2), '.')
	return appendPadded(dst, uint64(day), 2)
}

// appendPadded appends n in decimal with at least width digits.
func appendPadded(dst []byte, n uint64, width int) []byte {
	limit := uint64(10)
	for range width - 1 {
		if n < limit {
			dst = append(dst, '0')
		}
		limit *= 10
	}
	return strconv.AppendUint(dst, n, 10)
}
