package changelog_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/lcapd/lcapd/changelog"
)

// streamSummary describes stream.bin: 2000 mixed records (ABI 12).
type streamSummary struct {
	File             string         `json:"file"`
	Bytes            int            `json:"bytes"`
	SHA256           string         `json:"sha256"`
	Count            int            `json:"count"`
	FirstIndex       uint64         `json:"first_index"`
	LastIndex        uint64         `json:"last_index"`
	Gaps             int            `json:"index_gaps"`
	Missing          uint64         `json:"missing_indices"`
	Increasing       bool           `json:"strictly_increasing"`
	Types            map[string]int `json:"types"`
	TypeNames        map[string]int `json:"type_names"`
	FlagCombinations map[string]int `json:"flag_combinations"`
	MinSize          int            `json:"min_record_size"`
	MaxSize          int            `json:"max_record_size"`
	Unaligned        int            `json:"unaligned_offsets"`
	OffsetsSHA256    string         `json:"record_offsets_sha256"`
	OffsetsEvery100  []int64        `json:"offsets_every_100"`
	IndicesEvery100  []uint64       `json:"indices_every_100"`
	WholeRecordReads wholeReads     `json:"whole_record_reads_4096"`
	LFSSHA256        string         `json:"lfs_output_sha256"`
	LFSBytes         int            `json:"lfs_output_bytes"`
	LFSFirst         string         `json:"lfs_first_line"`
	LFSLast          string         `json:"lfs_last_line"`
}

// wholeReads are the sizes of reads that never cut a record.
type wholeReads struct {
	Count    int   `json:"count"`
	FirstTen []int `json:"first_ten"`
	Last     int   `json:"last"`
}

var loadStream = sync.OnceValues(func() (*streamSummary, error) {
	s := &streamSummary{}
	return s, decodeFile("stream.json", s)
})

// stream returns the summary and the bytes of stream.bin.
func stream(t testing.TB) (*streamSummary, []byte) {
	t.Helper()
	s, err := loadStream()
	if err != nil {
		t.Fatal(err)
	}
	return s, readVector(t, s.File)
}

// streamRecords returns all records of stream.bin.
func streamRecords(t testing.TB) []changelog.Record {
	t.Helper()
	_, buf := stream(t)
	records, err := scanAll(changelog.NewScanner(buf))
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// scanAll returns what a scanner finds before it stops, and why it stops.
func scanAll(s *changelog.Scanner) ([]changelog.Record, error) {
	var records []changelog.Record
	for s.Scan() {
		records = append(records, s.Record())
	}
	return records, s.Err()
}

func TestStreamIsUnchanged(t *testing.T) {
	s, buf := stream(t)
	same(t, "size", len(buf), s.Bytes)
	same(t, "sha256", sha(buf), s.SHA256)
}

func TestStreamOffsets(t *testing.T) {
	s, buf := stream(t)
	scan := changelog.NewScanner(buf)
	scan.StrictExtra, scan.Ordered = true, true
	count, unaligned := 0, 0
	var every100 []int64
	offsets := sha256.New()
	for start := scan.Offset(); scan.Scan(); start = scan.Offset() {
		if count%100 == 0 {
			every100 = append(every100, start)
		}
		if start%8 != 0 {
			unaligned++
		}
		offsets.Write(binary.LittleEndian.AppendUint64(nil, uint64(start)))
		same(t, "offset behind the record", scan.Offset(), start+int64(scan.Record().Size()))
		count++
	}
	if scan.Err() != nil {
		t.Fatal(scan.Err())
	}
	same(t, "count", count, s.Count)
	same(t, "offset at the end", scan.Offset(), int64(s.Bytes))
	same(t, "offsets off 8", unaligned, s.Unaligned)
	same(t, "sha256 of the offsets", hex.EncodeToString(offsets.Sum(nil)), s.OffsetsSHA256)
	if !slices.Equal(every100, s.OffsetsEvery100) {
		t.Errorf("every 100th offset is %v, want %v", every100, s.OffsetsEvery100)
	}
}

func TestStreamIndexes(t *testing.T) {
	s, _ := stream(t)
	var every100 []uint64
	var last uint64
	gaps, missing, increasing := 0, uint64(0), true
	for i, r := range streamRecords(t) {
		index := r.Index()
		if i%100 == 0 {
			every100 = append(every100, index)
		}
		if i > 0 && index != last+1 {
			gaps++
			missing += index - last - 1
		}
		increasing = increasing && index > last
		last = index
	}
	if !slices.Equal(every100, s.IndicesEvery100) {
		t.Errorf("every 100th index is %v, want %v", every100, s.IndicesEvery100)
	}
	same(t, "first index", every100[0], s.FirstIndex)
	same(t, "last index", last, s.LastIndex)
	same(t, "gaps", gaps, s.Gaps)
	same(t, "missing indexes", missing, s.Missing)
	same(t, "strictly increasing", increasing, s.Increasing)
}

func TestStreamCounts(t *testing.T) {
	s, _ := stream(t)
	types, names, flags := map[string]int{}, map[string]int{}, map[string]int{}
	smallest, largest := changelog.MaxRecordSize, 0
	for _, r := range streamRecords(t) {
		types[strconv.FormatUint(uint64(r.Type()), 10)]++
		names[r.Type().String()]++
		flags[fmt.Sprintf("%#x", uint16(r.Flags()&changelog.FlagsFormat))]++
		smallest, largest = min(smallest, r.Size()), max(largest, r.Size())
	}
	for _, c := range []struct {
		what      string
		got, want map[string]int
	}{{"types", types, s.Types}, {"type names", names, s.TypeNames}, {"flags", flags, s.FlagCombinations}} {
		if !maps.Equal(c.got, c.want) {
			t.Errorf("%s are %v, want %v", c.what, c.got, c.want)
		}
	}
	same(t, "smallest record", smallest, s.MinSize)
	same(t, "largest record", largest, s.MaxSize)
}

// A device returns whole records only: as many as fit into the buffer.
func TestStreamWholeRecordReads(t *testing.T) {
	s, _ := stream(t)
	reads := []int{0}
	for _, r := range streamRecords(t) {
		if reads[len(reads)-1]+r.Size() > 4096 {
			reads = append(reads, 0)
		}
		reads[len(reads)-1] += r.Size()
	}
	want := s.WholeRecordReads
	same(t, "reads", len(reads), want.Count)
	same(t, "last read", reads[len(reads)-1], want.Last)
	if !slices.Equal(reads[:10], want.FirstTen) {
		t.Errorf("the first reads are %v, want %v", reads[:10], want.FirstTen)
	}
}

func TestStreamLFS(t *testing.T) {
	s, _ := stream(t)
	var text, packed []byte
	for i, r := range streamRecords(t) {
		packed = r.AppendRepacked(packed[:0], changelog.FormatAll)
		start := len(text)
		text = frame(t, packed).AppendLFS(text)
		switch i {
		case 0:
			same(t, "first line", string(text), s.LFSFirst+"\n")
		case s.Count - 1:
			same(t, "last line", string(text[start:]), s.LFSLast+"\n")
		}
	}
	same(t, "bytes of text", len(text), s.LFSBytes)
	same(t, "sha256 of the text", sha(text), s.LFSSHA256)
}

func TestStreamFieldsPackToTheSameBytes(t *testing.T) {
	_, buf := stream(t)
	var packed []byte
	for _, r := range streamRecords(t) {
		f := r.Fields()
		var err error
		if packed, err = f.Append(packed); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(packed, buf) {
		t.Error("the stream differs after taking apart and packing every record")
	}
}

// oddReader returns 1, 2, 3 ... up to 1000 bytes at a time, and around again.
type oddReader struct {
	src io.Reader
	n   int
}

func (o *oddReader) Read(p []byte) (int, error) {
	o.n = o.n%1000 + 1
	return o.src.Read(p[:min(o.n, len(p))])
}

// idleReader returns nothing in every other read.
type idleReader struct {
	src  io.Reader
	idle bool
}

func (r *idleReader) Read(p []byte) (int, error) {
	if r.idle = !r.idle; r.idle {
		return 0, nil
	}
	return r.src.Read(p)
}

func TestReaderReadsTheStream(t *testing.T) {
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"at once":          func(r io.Reader) io.Reader { return r },
		"one byte":         iotest.OneByteReader,
		"half":             iotest.HalfReader,
		"end with data":    iotest.DataErrReader,
		"odd":              func(r io.Reader) io.Reader { return &oddReader{src: r} },
		"idle":             func(r io.Reader) io.Reader { return &idleReader{src: r} },
		"one byte, idle":   func(r io.Reader) io.Reader { return &idleReader{src: iotest.OneByteReader(r)} },
		"odd, end at once": func(r io.Reader) io.Reader { return iotest.DataErrReader(&oddReader{src: r}) },
	} {
		t.Run(name, func(t *testing.T) {
			_, buf := stream(t)
			r := changelog.NewReader(wrap(bytes.NewReader(buf)))
			r.StrictExtra, r.Ordered = true, true
			got := readStream(t, r, buf)
			same(t, "bytes read", got, len(buf))
			same(t, "Offset", r.Offset(), int64(len(buf)))
			_, err := r.Next()
			same(t, "error after the end", err, io.EOF)
		})
	}
}

// readStream reads to the end and compares each record with its bytes in buf.
func readStream(t *testing.T, r *changelog.Reader, buf []byte) (bytesRead int) {
	t.Helper()
	for {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			return bytesRead
		}
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(record.Bytes(), buf[bytesRead:bytesRead+record.Size()]) {
			t.Fatalf("the record at offset %d differs", bytesRead)
		}
		bytesRead += record.Size()
	}
}
