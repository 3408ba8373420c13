package changelog_test

import (
	"fmt"
	"os"
	"time"

	"github.com/lcapd/lcapd/changelog"
)

// exampleRecords returns two packed records, one behind the other.
func exampleRecords() []byte {
	file := changelog.Fields{
		Type:   changelog.TypeCreat,
		Index:  7,
		Time:   changelog.TimeOf(time.Date(2026, 9, 21, 14, 13, 20, 0, time.UTC)),
		Target: changelog.FID{Seq: 0x200000402, Oid: 0x1a3},
		Parent: changelog.FID{Seq: 0x200000007, Oid: 1},
		Name:   "report.txt",
		Format: changelog.Format{Flags: changelog.FlagVersion},
	}
	buf, _ := file.Append(nil)
	file.Index, file.Type, file.Payload = 8, changelog.TypeUnlnk, changelog.FlagLastLink
	buf, _ = file.Append(buf)
	return buf
}

func ExampleNext() {
	buf := exampleRecords()
	for len(buf) > 0 {
		r, rest, err := changelog.Next(buf)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%d %v %v %s\n", r.Index(), r.Type(), r.Target(), r.Name())
		buf = rest
	}
	// Output:
	// 7 CREAT [0x200000402:0x1a3:0x0] report.txt
	// 8 UNLNK [0x200000402:0x1a3:0x0] report.txt
}

func ExampleScanner() {
	buf := exampleRecords()
	s := changelog.NewScanner(buf[:len(buf)-1]) // the last byte is missing
	s.Ordered = true
	for s.Scan() {
		fmt.Println(s.Record().Index(), "at", s.Offset())
	}
	fmt.Println(s.Err())
	// Output:
	// 7 at 74
	// record at offset 74 (index 8): truncated record: the record needs 74 bytes, 73 are left
}

func ExampleFields_Append() {
	rename := changelog.Fields{
		Type:         changelog.TypeRenme,
		Format:       changelog.Format{Flags: changelog.FlagRename | changelog.FlagJobID},
		Index:        9,
		Parent:       changelog.FID{Seq: 0x200000007, Oid: 1},
		Name:         "new",
		Source:       changelog.FID{Seq: 0x200000402, Oid: 0x1a3},
		SourceParent: changelog.FID{Seq: 0x200000007, Oid: 1},
		SourceName:   "old",
		JobID:        "mv.1000",
	}
	packed, err := rename.Append(nil)
	fmt.Println(len(packed), "bytes,", err)

	rename.JobID = "a job identifier that is too long"
	_, err = rename.Append(nil)
	fmt.Println(err)
	// Output:
	// 135 bytes, <nil>
	// build RENME record 9: job id has 33 bytes, at most 31 fit
}

func ExampleRecord_AppendLFS() {
	var line []byte
	for s := changelog.NewScanner(exampleRecords()); s.Scan(); {
		line = s.Record().AppendLFS(line[:0])
		os.Stdout.Write(line)
	}
	// Output:
	// 7 01CREAT 14:13:20.000000000 2026.09.21 0x0 t=[0x200000402:0x1a3:0x0] p=[0x200000007:0x1:0x0] report.txt
	// 8 06UNLNK 14:13:20.000000000 2026.09.21 0x1 t=[0x200000402:0x1a3:0x0] p=[0x200000007:0x1:0x0] report.txt
}

func ExampleRecord_AppendJSON() {
	r, _, _ := changelog.Next(exampleRecords())
	fmt.Printf("%s\n", r.AppendJSON(nil, "testfs-MDT0000"))
	// Output:
	// {"mdt":"testfs-MDT0000","index":7,"prev":0,"record_type":"CREAT","time":"2026-09-21T14:13:20.000000000Z","flags":4096,"target_fid":"[0x200000402:0x1a3:0x0]","parent_fid":"[0x200000007:0x1:0x0]","filename":"report.txt"}
}

func ExampleParseMask() {
	for _, s := range []string{"CREAT,UNLNK", "+OPEN -MARK", "CREATE"} {
		m, err := changelog.ParseMask(s, changelog.MaskOf(changelog.TypeMark, changelog.TypeClose))
		if err != nil {
			fmt.Println("no such type")
			continue
		}
		fmt.Println(m)
	}
	// Output:
	// MARK CREAT UNLNK
	// OPEN CLOSE
	// no such type
}
