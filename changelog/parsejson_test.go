package changelog_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lcapd/lcapd/changelog"
)

// Every golden record survives the way to JSON and back, and to packed form again.
func TestParseJSONRoundTrip(t *testing.T) {
	files, err := filepath.Glob("testdata/vectors/*.bin")
	if err != nil || len(files) < 72 {
		t.Fatalf("%d vectors, %v", len(files), err)
	}
	for _, file := range files {
		packed, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s := changelog.NewScanner(packed)
		for s.Scan() {
			want := string(s.Record().AppendJSON(nil, "m"))
			fields, err := changelog.ParseJSON([]byte(want))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			again, err := fields.Append(nil)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			r, _, err := changelog.Next(again)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if got := string(r.AppendJSON(nil, "m")); got != want {
				t.Errorf("%s:\n got %s\nwant %s", file, got, want)
			}
		}
	}
}

func TestParseJSONDefaults(t *testing.T) {
	tests := []struct{ in, want string }{
		{`{"record_type":"CREAT"}`, "0 01CREAT 00:00:00.000000000 1970.01.01 0x0 t=[0:0x0:0x0]\n"},
		{
			`{"index":7,"record_type":"creat","time":"2026-09-21T14:13:20.5Z","target_fid":"[0x1:0x2:0x0]","parent_fid":"0x3:0x4:0x0","filename":"a b","uid":1,"client_nid":"10.0.0.1@tcp"}`,
			"7 01CREAT 14:13:20.500000000 2026.09.21 0x0 t=[0x1:0x2:0x0] ef=0x13 u=1:0 nid=10.0.0.1@tcp p=[0x3:0x4:0x0] a b\n",
		},
		{
			`{"record_type":"RENME","filename":"new","source_name":"old","source_fid":"[0x1:0x2:0x0]","job_id":"mv.0"}`,
			"0 08RENME 00:00:00.000000000 1970.01.01 0x0 t=[0:0x0:0x0] j=mv.0 new s=[0x1:0x2:0x0] sp=[0:0x0:0x0] old\n",
		},
	}
	for _, test := range tests {
		f, err := changelog.ParseJSON([]byte(test.in))
		if err != nil {
			t.Errorf("%s: %v", test.in, err)
			continue
		}
		packed, err := f.Append(nil)
		if err != nil {
			t.Errorf("%s: %v", test.in, err)
			continue
		}
		r, _, _ := changelog.Next(packed)
		if got := string(r.AppendLFS(nil)); got != test.want {
			t.Errorf("%s\n got %s\nwant %s", test.in, got, test.want)
		}
	}
}

func TestParseJSONErrors(t *testing.T) {
	tests := []struct{ in, want string }{
		{``, "parse JSON record: EOF"},
		{`{}`, `parse JSON record: record_type is missing, such as "CREAT"`},
		{`{"record_type":"CREATE"}`, `record_type: record type "CREATE" is unknown; the types are MARK CREAT`},
		{`{"record_type":"CREAT","name":"x"}`, `unknown field "name"`},
		{`{"record_type":"CREAT"} {}`, `more follows behind the object`},
		{`{"record_type":"CREAT","time":"yesterday"}`, `time: parsing time "yesterday"`},
		{`{"record_type":"CREAT","target_fid":"[1:2]"}`, `FID "[1:2]" is not of the form [0xSEQ:0xOID:0xVER]`},
		{`{"record_type":"CREAT","index":-1}`, `index`},
	}
	for _, test := range tests {
		_, err := changelog.ParseJSON([]byte(test.in))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want it to contain %q", test.in, err, test.want)
		}
	}
}

func FuzzParseJSON(f *testing.F) {
	f.Add([]byte(`{"record_type":"CREAT","flags":53248,"extra_flags":19,"uid":1,"gid":2,"client_nid":"0@lo","job_id":"x","filename_b64":"//4="}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		fields, err := changelog.ParseJSON(data)
		if err != nil {
			return
		}
		packed, err := fields.Append(nil)
		if err != nil {
			return
		}
		if _, rest, err := changelog.Next(packed); err != nil || len(rest) != 0 {
			t.Fatalf("%s packs into %x: %v", data, packed, err)
		}
	})
}
