package changelog_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/lcapd/lcapd/changelog"
)

var errBroken = errors.New("the cable is out")

// step is one answer of a stream.
type step struct {
	data []byte
	err  error
}

// scriptedReader answers with one step after the other, then with the end.
type scriptedReader struct{ steps []step }

func (s *scriptedReader) Read(p []byte) (int, error) {
	if len(s.steps) == 0 {
		return 0, io.EOF
	}
	next := s.steps[0]
	s.steps = s.steps[1:]
	return copy(p, next.data), next.err
}

// readScript makes calls of Next and returns the index of each record, or -1 for
// each error, and the last error.
func readScript(calls int, steps ...step) (indexes []int, last error) {
	r := changelog.NewReader(&scriptedReader{steps})
	for range calls {
		record, err := r.Next()
		if err != nil {
			indexes, last = append(indexes, -1), err
			continue
		}
		indexes = append(indexes, int(record.Index()))
	}
	return indexes, last
}

// twoRecords returns the packed records 101 and 112, one behind the other, and
// the size of the first.
func twoRecords(t testing.TB) (b []byte, first int) {
	t.Helper()
	r := vectorByID(t, "creat")
	return append(r.Clone().Bytes(), vectorByID(t, "renme").Bytes()...), r.Size()
}

func TestReaderErrors(t *testing.T) {
	b, first := twoRecords(t)
	const broken = "read records at offset 154: the cable is out"
	for name, c := range map[string]struct {
		steps   []step
		indexes []int // -1 is an error
		err     string
	}{
		"nothing":                {nil, []int{-1, -1}, "EOF"},
		"end with the data":      {[]step{{b, io.EOF}}, []int{101, 112, -1, -1}, "EOF"},
		"error at once":          {[]step{{nil, errBroken}}, []int{-1}, "read records at offset 0: the cable is out"},
		"error with the data":    {[]step{{b[:first], errBroken}}, []int{101, -1}, broken},
		"error inside a record":  {[]step{{b[:first+10], errBroken}}, []int{101, -1}, broken},
		"error, then the rest":   {[]step{{b[:first+10], errBroken}, {b[first+10:], nil}}, []int{101, -1, 112, -1}, "EOF"},
		"error, then the end":    {[]step{{b[:first+10], errBroken}}, []int{101, -1, -1}, "record at offset 154: truncated record: the header needs 64 bytes, 10 are left"},
		"end inside a header":    {[]step{{b[:first+10], nil}}, []int{101, -1, -1}, "record at offset 154: truncated record: the header needs 64 bytes, 10 are left"},
		"end inside a record":    {[]step{{b[:len(b)-1], nil}}, []int{101, -1, -1}, "record at offset 154 (index 112): truncated record: the record needs 193 bytes, 192 are left"},
		"end inside, with data":  {[]step{{b[:len(b)-1], io.EOF}}, []int{101, -1, -1}, "record at offset 154 (index 112): truncated record: the record needs 193 bytes, 192 are left"},
		"end under another name": {[]step{{b[:first], io.ErrUnexpectedEOF}}, []int{101, -1}, "read records at offset 154: unexpected EOF"},
		"noise":                  {[]step{{b[:first], nil}, {bytes.Repeat([]byte{0xff}, 64), nil}}, []int{101, -1, -1}, "record at offset 154: impossible name length: the header claims 65535 bytes of names, at most 511 are possible; these bytes are not changelog records"},
	} {
		t.Run(name, func(t *testing.T) {
			indexes, err := readScript(len(c.indexes), c.steps...)
			for i := range indexes {
				same(t, "record", indexes[i], c.indexes[i])
			}
			failsWith(t, err, c.err)
		})
	}
}

func TestReaderErrorsUnwrap(t *testing.T) {
	_, err := changelog.NewReader(iotest.ErrReader(errBroken)).Next()
	same(t, "errors.Is", errors.Is(err, errBroken), true)
	_, err = changelog.NewReader(iotest.ErrReader(io.EOF)).Next()
	same(t, "the end itself", err, io.EOF)
	_, err = changelog.NewReader(bytes.NewReader(make([]byte, 10))).Next()
	same(t, "errors.Is", errors.Is(err, changelog.ErrTruncated), true)
	var frameError *changelog.FrameError
	same(t, "errors.As", errors.As(err, &frameError), true)
}

// A stream that neither answers nor ends must not keep the reader for ever.
func TestReaderGivesUpOnSilence(t *testing.T) {
	silence := make([]step, 100)
	_, err := readScript(1, silence...)
	failsWith(t, err, "read records at offset 0: multiple Read calls return no data or error")
	same(t, "errors.Is", errors.Is(err, io.ErrNoProgress), true)
	b, first := twoRecords(t)
	indexes, err := readScript(3, append(append([]step{{b[:first], nil}}, silence[1:]...), step{b[first:], nil})...)
	same(t, "second record", indexes[1], 112)
	same(t, "error", err, io.EOF)
}

// A timeout in the middle of a record costs nothing.
func TestReaderGoesOnAfterTimeout(t *testing.T) {
	b, _ := twoRecords(t)
	r := changelog.NewReader(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(b))))
	timeouts, indexes := 0, []uint64{}
	for {
		record, err := r.Next()
		if err == io.EOF {
			break
		}
		if errors.Is(err, iotest.ErrTimeout) {
			timeouts++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		indexes = append(indexes, record.Index())
	}
	same(t, "timeouts", timeouts, 1)
	same(t, "records", len(indexes), 2)
}

func TestReaderOptions(t *testing.T) {
	b, first := twoRecords(t)
	backwards := append(bytes.Clone(b[first:]), b[:first]...)
	r := changelog.NewReader(bytes.NewReader(backwards))
	r.Ordered = true
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	const want = "record at offset 193 (index 101): index out of order: it follows index 112; indexes must increase"
	for range 2 { // it stays
		_, err := r.Next()
		failsWith(t, err, want)
	}
	r = changelog.NewReader(bytes.NewReader(vectorByID(t, "extra-future-bit").Bytes()))
	r.StrictExtra = true
	_, err := r.Next()
	same(t, "errors.Is", errors.Is(err, changelog.ErrUnknownExtra), true)
}

// More than one buffer, with records across every boundary.
func TestReaderAcrossBuffers(t *testing.T) {
	_, buf := stream(t)
	long := bytes.Repeat(buf, 4)
	r := changelog.NewReader(bytes.NewReader(long))
	same(t, "bytes read", readStream(t, r, long), len(long))
}
