package changelog_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"sync"
	"testing"

	"github.com/lcapd/lcapd/changelog"
)

// vectorDir holds the golden data, all made by Lustre's own code (ABI 12).
const vectorDir = "testdata/vectors/"

// hexBytes are bytes written as hexadecimal text.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// vectorFID is a FID in all the ways in which the vectors give it.
type vectorFID struct {
	Seq    uint64 `json:"seq"`
	Oid    uint32 `json:"oid"`
	Ver    uint32 `json:"ver"`
	Str    string `json:"str"`
	IsZero bool   `json:"is_zero"`
}

func (f vectorFID) fid() changelog.FID {
	return changelog.FID{Seq: f.Seq, Oid: f.Oid, Ver: f.Ver}
}

// vectorHSM is the unpacked payload of an HSM record.
type vectorHSM struct {
	Error     uint8  `json:"error"`
	Event     uint8  `json:"event"`
	EventName string `json:"event_name"`
	Flags     uint8  `json:"flags"`
	Dirty     bool   `json:"dirty"`
}

// vector describes one record. A nil pointer is a field that the record does
// not have; a nil text beside bytes says that they are not UTF-8.
type vector struct {
	ID          string `json:"id"`
	File        string `json:"file"`
	Description string `json:"description"`
	SHA256      string `json:"sha256"`

	Size       int    `json:"size"`
	NameOffset int    `json:"name_offset"`
	NameLen    int    `json:"namelen"`
	Flags      uint16 `json:"flags"`
	LowFlags   uint16 `json:"low_flags"`
	HasVersion bool   `json:"has_version"`
	HasRename  bool   `json:"has_rename"`
	HasJobID   bool   `json:"has_jobid"`
	HasExtra   bool   `json:"has_extra_flags"`

	Type        uint32     `json:"type"`
	TypeName    *string    `json:"type_name"`
	Index       uint64     `json:"index"`
	Prev        uint64     `json:"prev"`
	Time        uint64     `json:"time"`
	TimeSec     int64      `json:"time_sec"`
	TimeNsec    int64      `json:"time_nsec"`
	TimeRFC3339 string     `json:"time_rfc3339"`
	Target      *vectorFID `json:"tfid"`
	Marker      *uint32    `json:"marker_flags"`
	TargetStr   string     `json:"tfid_raw_str"`
	Parent      vectorFID  `json:"pfid"`

	Source       *vectorFID `json:"sfid"`
	SourceParent *vectorFID `json:"spfid"`
	NameHex      hexBytes   `json:"name_hex"`
	Name         *string    `json:"name"`
	SourceHex    *hexBytes  `json:"sname_hex"`
	SourceName   *string    `json:"sname"`
	JobIDHex     *hexBytes  `json:"jobid_hex"`
	JobID        *string    `json:"jobid"`
	XattrHex     *hexBytes  `json:"xattr_hex"`
	Xattr        *string    `json:"xattr"`
	NameAreaHex  hexBytes   `json:"name_area_hex"`

	Extra     *uint64    `json:"extra_flags"`
	UID       *uint64    `json:"uid"`
	GID       *uint64    `json:"gid"`
	NIDHex    *hexBytes  `json:"nid_hex"`
	NIDIsBE   *bool      `json:"nid_is_be"`
	NID4      *uint64    `json:"nid4"`
	NIDStr    *string    `json:"nid_str"`
	OpenFlags *uint32    `json:"open_flags"`
	HSM       *vectorHSM `json:"hsm"`

	LFSHex     hexBytes  `json:"lfs_line_hex"`
	LFS        *string   `json:"lfs_line"`
	LFS215     *string   `json:"lfs_line_2_15"`
	LFS215Hex  *hexBytes `json:"lfs_line_2_15_hex"`
	packedFile []byte    // what File holds
}

// record frames the vector's bytes, which must be one record and nothing else.
func (v *vector) record(t testing.TB) changelog.Record {
	t.Helper()
	return frame(t, v.packedFile)
}

// remapCase is one conversion between formats: input and output are files.
type remapCase struct {
	Op           string `json:"op"`
	Client       string `json:"client"`
	Input        string `json:"input"`
	WantFlags    uint16 `json:"want_flags"`
	WantExtra    uint64 `json:"want_extra_flags"`
	Output       string `json:"output"`
	OutputSize   int    `json:"output_size"`
	OutputSHA256 string `json:"output_sha256"`
	Identical    bool   `json:"identical_to_input"`
}

// vectorFile is the whole of vectors.json.
type vectorFile struct {
	Schema      int               `json:"schema"`
	Notes       string            `json:"notes"`
	Records     []vector          `json:"records"`
	Remap       []remapCase       `json:"remap"`
	TrimClients map[string]string `json:"trim_clients"`
}

var loadVectors = sync.OnceValues(func() (*vectorFile, error) {
	all := &vectorFile{}
	if err := decodeFile("vectors.json", all); err != nil {
		return nil, err
	}
	for i := range all.Records {
		v := &all.Records[i]
		var err error
		if v.packedFile, err = os.ReadFile(vectorDir + v.File); err != nil {
			return nil, err
		}
	}
	return all, nil
})

// decodeFile reads a JSON file of the golden data. A field that we do not know
// is an error: every field must be compared with something.
func decodeFile(name string, into any) error {
	text, err := os.ReadFile(vectorDir + name)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

func golden(t testing.TB) *vectorFile {
	t.Helper()
	all, err := loadVectors()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// eachVector runs a subtest for every vector.
func eachVector(t *testing.T, check func(t *testing.T, v *vector, r changelog.Record)) {
	t.Helper()
	all := golden(t)
	for i := range all.Records {
		v := &all.Records[i]
		t.Run(v.ID, func(t *testing.T) { check(t, v, v.record(t)) })
	}
}

// vectorByID returns the record of one vector.
func vectorByID(t testing.TB, id string) changelog.Record {
	t.Helper()
	all := golden(t)
	for i := range all.Records {
		if all.Records[i].ID == id {
			return all.Records[i].record(t)
		}
	}
	t.Fatalf("there is no vector %s", id)
	return changelog.Record{}
}

// readVector returns the bytes of a file of the golden data.
func readVector(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(vectorDir + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// frame returns the record that b must hold, alone.
func frame(t testing.TB, b []byte) changelog.Record {
	t.Helper()
	r, rest, err := changelog.Next(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(rest) != 0 {
		t.Fatalf("%d bytes are left behind the record", len(rest))
	}
	return r
}

// pack builds a record from fields that must be fine.
func pack(t testing.TB, f changelog.Fields) changelog.Record {
	t.Helper()
	b, err := f.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return frame(t, b)
}

// same compares two values.
func same[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// sameBytes compares two byte strings.
func sameBytes(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s is\n%q, want\n%q", what, got, want)
	}
}

// sameOptional compares what a record may lack: ok must say whether want is there,
// and the value must be zero where it is not.
func sameOptional[T comparable](t testing.TB, what string, got T, ok bool, want *T) {
	t.Helper()
	var expected T
	if want != nil {
		expected = *want
	}
	if got != expected || ok != (want != nil) {
		t.Errorf("%s is %v, %v, want %v, %v", what, got, ok, expected, want != nil)
	}
}

// failsWith checks that err has exactly the wanted text.
func failsWith(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("the error is\n%v, want\n%s", err, want)
	}
}
