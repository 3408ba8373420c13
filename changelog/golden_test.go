package changelog_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/lcapd/lcapd/changelog"
)

// The counts keep a test from passing because it found nothing to do.
func TestGoldenDataIsComplete(t *testing.T) {
	all := golden(t)
	same(t, "schema", all.Schema, 1)
	same(t, "number of records", len(all.Records), 72)
	same(t, "number of conversions", len(all.Remap), 413)
	same(t, "number of client rows", len(all.TrimClients), 4)
}

func TestVectorHeader(t *testing.T) {
	eachVector(t, func(t *testing.T, v *vector, r changelog.Record) {
		same(t, "sha256", sha(v.packedFile), v.SHA256)
		sameBytes(t, "Bytes", r.Bytes(), v.packedFile)
		same(t, "Size", r.Size(), v.Size)
		same(t, "Flags", r.Flags(), changelog.Flags(v.Flags))
		same(t, "payload", r.Flags()&changelog.FlagsPayload, changelog.Flags(v.LowFlags))
		same(t, "FlagVersion", r.Flags()&changelog.FlagVersion != 0, v.HasVersion)
		same(t, "FlagRename", r.Flags()&changelog.FlagRename != 0, v.HasRename)
		same(t, "FlagJobID", r.Flags()&changelog.FlagJobID != 0, v.HasJobID)
		same(t, "FlagExtra", r.Flags()&changelog.FlagExtra != 0, v.HasExtra)
		same(t, "Type", r.Type(), changelog.Type(v.Type))
		same(t, "Type.Known", r.Type().Known(), v.TypeName != nil)
		if v.TypeName != nil {
			same(t, "Type.String", r.Type().String(), *v.TypeName)
		}
		same(t, "Index", r.Index(), v.Index)
		same(t, "Prev", r.Prev(), v.Prev)
		checkVectorTime(t, v, r.Time())
	})
}

func checkVectorTime(t *testing.T, v *vector, got changelog.Time) {
	t.Helper()
	same(t, "Time", got, changelog.Time(v.Time))
	sec, nsec := got.Unix()
	same(t, "seconds", sec, v.TimeSec)
	same(t, "nanoseconds", nsec, v.TimeNsec)
	same(t, "Time.Time", got.Time().Format("2006-01-02T15:04:05.000000000Z07:00"), v.TimeRFC3339)
	want, err := time.Parse(time.RFC3339Nano, v.TimeRFC3339)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "TimeOf", changelog.TimeOf(want), got)
}

func TestVectorFIDs(t *testing.T) {
	eachVector(t, func(t *testing.T, v *vector, r changelog.Record) {
		same(t, "Target as text", r.Target().String(), v.TargetStr)
		if v.Target != nil {
			checkVectorFID(t, "Target", r.Target(), true, v.Target)
		}
		checkVectorFID(t, "Parent", r.Parent(), true, &v.Parent)
		source, ok := r.Source()
		checkVectorFID(t, "Source", source, ok, v.Source)
		parent, ok := r.SourceParent()
		checkVectorFID(t, "SourceParent", parent, ok, v.SourceParent)

		marker, isMark := r.Marker()
		same(t, "Marker", isMark, v.Marker != nil)
		same(t, "a target FID beside marker flags", v.Target == nil, isMark)
		if isMark {
			same(t, "Marker", marker, changelog.MarkerFlags(*v.Marker))
			same(t, "MarkerTarget", changelog.MarkerTarget(marker), r.Target())
		}
	})
}

func checkVectorFID(t *testing.T, what string, got changelog.FID, ok bool, want *vectorFID) {
	t.Helper()
	if want == nil {
		sameOptional(t, what, got, ok, nil)
		return
	}
	fid := want.fid()
	sameOptional(t, what, got, ok, &fid)
	same(t, what+" as text", got.String(), want.Str)
	same(t, what+".IsZero", got.IsZero(), want.IsZero)
}

func TestVectorNames(t *testing.T) {
	eachVector(t, func(t *testing.T, v *vector, r changelog.Record) {
		sameBytes(t, "NameArea", r.NameArea(), v.NameAreaHex)
		same(t, "length of NameArea", len(r.NameArea()), v.NameLen)
		same(t, "offset of NameArea", r.Size()-len(r.NameArea()), v.NameOffset)
		checkVectorText(t, "Name", r.Name(), true, &v.NameHex, v.Name)
		source, ok := r.SourceName()
		checkVectorText(t, "SourceName", source, ok, v.SourceHex, v.SourceName)
		jobID, ok := r.JobID()
		checkVectorText(t, "JobID", jobID, ok, v.JobIDHex, v.JobID)
		xattr, ok := r.XattrName()
		checkVectorText(t, "XattrName", xattr, ok, v.XattrHex, v.Xattr)
	})
}

func checkVectorText(t *testing.T, what string, got []byte, ok bool, want *hexBytes, text *string) {
	t.Helper()
	same(t, what+" is there", ok, want != nil)
	if want == nil {
		same(t, "length of missing "+what, len(got), 0)
		return
	}
	sameBytes(t, what, got, *want)
	same(t, what+" is UTF-8", utf8.Valid(got), text != nil)
	if text != nil {
		same(t, what, string(got), *text)
	}
}

func TestVectorExtra(t *testing.T) {
	eachVector(t, func(t *testing.T, v *vector, r changelog.Record) {
		extra, ok := r.Extra()
		sameOptional(t, "Extra", uint64(extra), ok, v.Extra)
		same(t, "Format", r.Format(), changelog.Format{Flags: r.Flags() & changelog.FlagsFormat, Extra: extra})
		uid, gid, ok := r.Owner()
		sameOptional(t, "uid", uid, ok, v.UID)
		sameOptional(t, "gid", gid, ok, v.GID)
		mode, ok := r.OpenMode()
		sameOptional(t, "OpenMode", uint32(mode), ok, v.OpenFlags)
		checkVectorNID(t, v, r)
		hsm, ok := r.HSM()
		same(t, "HSM is there", ok, v.HSM != nil)
		if ok {
			want := changelog.HSM{Errno: v.HSM.Error, Event: changelog.HSMEvent(v.HSM.Event), Dirty: v.HSM.Dirty}
			same(t, "HSM", hsm, want)
			same(t, "HSM.Flags", want.Flags(), changelog.Flags(v.LowFlags))
		}
	})
}

// checkVectorNID compares the NID with the raw block as well as with the text.
func checkVectorNID(t *testing.T, v *vector, r changelog.Record) {
	t.Helper()
	nid, ok := r.NID()
	same(t, "NID is there", ok, v.NIDHex != nil)
	if !ok {
		same(t, "missing NID", nid, changelog.NID{})
		return
	}
	same(t, "NID", nid.String(), *v.NIDStr)
	extra, _ := r.Extra()
	same(t, "ExtraNIDBE", extra&changelog.ExtraNIDBE != 0, *v.NIDIsBE)
	raw := []byte(*v.NIDHex)
	if v.NID4 != nil {
		same(t, "64-bit form", binary.LittleEndian.Uint64(raw), *v.NID4)
		same(t, "network", nid.Net, uint16(*v.NID4>>48))
		same(t, "network number", nid.Num, uint16(*v.NID4>>32))
		same(t, "address", binary.BigEndian.Uint32(nid.Addr[:]), uint32(*v.NID4))
		return
	}
	if nid.Any {
		return
	}
	same(t, "network", nid.Net, uint16(raw[1]))
	same(t, "network number", nid.Num, binary.BigEndian.Uint16(raw[2:]))
	sameBytes(t, "address", nid.Addr[:nid.Len], raw[4:8+raw[0]])
}

func TestVectorLFS(t *testing.T) {
	eachVector(t, func(t *testing.T, v *vector, r changelog.Record) {
		repacked := frame(t, r.AppendRepacked(nil, changelog.FormatAll))
		line := repacked.AppendLFS([]byte("before "))
		sameBytes(t, "AppendLFS", line, append([]byte("before "), v.LFSHex...))
		if v.LFS != nil {
			same(t, "text twin", *v.LFS+"\n", string(v.LFSHex))
		}
	})
}

func TestVectorLFS215(t *testing.T) {
	lines := 0
	eachVector(t, func(t *testing.T, v *vector, r changelog.Record) {
		same(t, "a 2.15 line without an extra word", v.LFS215Hex != nil, v.HasExtra)
		if v.LFS215Hex == nil {
			return
		}
		lines++
		trimmed := frame(t, r.AppendTrimmed(nil, changelog.Generation211))
		normalized := frame(t, trimmed.AppendNormalized(nil, changelog.FormatClassic))
		sameBytes(t, "AppendLFS", normalized.AppendLFS(nil), *v.LFS215Hex)
		if v.LFS215 != nil {
			same(t, "text twin", *v.LFS215+"\n", string(*v.LFS215Hex))
		}
	})
	same(t, "number of 2.15 lines", lines, 61)
}

// undefinedBytes are the vectors with bytes that Fields does not keep.
var undefinedBytes = map[string]bool{"stale-bytes": true}

func TestVectorFields(t *testing.T) {
	eachVector(t, func(t *testing.T, v *vector, r changelog.Record) {
		fields := r.Fields()
		prefix := []byte("before")
		packed, err := fields.Append(prefix)
		if err != nil {
			t.Fatal(err)
		}
		packed = packed[len(prefix):]
		again := frame(t, packed).Fields()
		if again != fields {
			t.Errorf("packed and unpacked:\n%+v, want\n%+v", again, fields)
		}
		same(t, "size", len(packed), v.Size)
		if !undefinedBytes[v.ID] {
			sameBytes(t, "packed again", packed, v.packedFile)
		}
		checkFieldsAgainstAccessors(t, fields, r)
	})
}

// checkFieldsAgainstAccessors catches fields that were mixed up: the accessors
// are compared with the vectors elsewhere.
func checkFieldsAgainstAccessors(t *testing.T, f changelog.Fields, r changelog.Record) {
	t.Helper()
	same(t, "Type", f.Type, r.Type())
	same(t, "flags", f.Payload|f.Format.Flags, r.Flags())
	same(t, "Format", f.Format, r.Format())
	same(t, "Index", f.Index, r.Index())
	same(t, "Prev", f.Prev, r.Prev())
	same(t, "Time", f.Time, r.Time())
	same(t, "Target", f.Target, r.Target())
	same(t, "Parent", f.Parent, r.Parent())
	same(t, "Name", f.Name, string(r.Name()))
	source, _ := r.Source()
	same(t, "Source", f.Source, source)
	parent, _ := r.SourceParent()
	same(t, "SourceParent", f.SourceParent, parent)
	name, _ := r.SourceName()
	same(t, "SourceName", f.SourceName, string(name))
	jobID, _ := r.JobID()
	same(t, "JobID", f.JobID, string(jobID))
	uid, gid, _ := r.Owner()
	same(t, "UID", f.UID, uid)
	same(t, "GID", f.GID, gid)
	nid, _ := r.NID()
	same(t, "NID", f.NID, nid)
	mode, _ := r.OpenMode()
	same(t, "OpenMode", f.OpenMode, mode)
	xattr, _ := r.XattrName()
	same(t, "XattrName", f.XattrName, string(xattr))
}

var generations = map[string]changelog.Generation{
	"client_nid_be":     changelog.Generation216,
	"client_no_nid_be":  changelog.Generation211,
	"client_jobid_only": changelog.Generation27,
	"client_pre_jobid":  changelog.Generation24,
}

func TestVectorConversions(t *testing.T) {
	done := map[string]int{}
	for _, c := range golden(t).Remap {
		t.Run(strings.TrimPrefix(c.Output, "remap/"), func(t *testing.T) {
			in, want := readVector(t, c.Input), readVector(t, c.Output)
			same(t, "sha256 of the golden output", sha(want), c.OutputSHA256)
			same(t, "size of the golden output", len(want), c.OutputSize)
			same(t, "golden output is the input", bytes.Equal(in, want), c.Identical)
			done[c.Op]++
			prefix := []byte("before")
			got := bytes.TrimPrefix(convert(t, prefix, frame(t, in), c), prefix)
			sameBytes(t, "output", got, want)
			frame(t, got)
		})
	}
	same(t, "repack cases", done["repack"], 263)
	same(t, "server-trim cases", done["server-trim"], 150)
}

// convert appends to dst what the case asks for.
func convert(t *testing.T, dst []byte, r changelog.Record, c remapCase) []byte {
	t.Helper()
	switch c.Op {
	case "repack":
		return r.AppendRepacked(dst, changelog.Format{Flags: changelog.Flags(c.WantFlags), Extra: changelog.Extra(c.WantExtra)})
	case "server-trim":
		generation, ok := generations[c.Client]
		if !ok {
			t.Fatalf("there is no generation for %s", c.Client)
		}
		return r.AppendTrimmed(dst, generation)
	}
	t.Fatalf("unknown operation %s", c.Op)
	return nil
}

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
