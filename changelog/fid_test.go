package changelog_test

import (
	"encoding/json"
	"testing"

	"github.com/lcapd/lcapd/changelog"
)

func TestFIDText(t *testing.T) {
	for text, fid := range map[string]changelog.FID{
		"[0x200000402:0x1a3:0x0]": {Seq: 0x200000402, Oid: 0x1a3},
		"[0:0x0:0x0]":             {},
		"[0:0x7:0x0]":             {Oid: 7},
		"[0:0x0:0x9]":             {Ver: 9},
		"[0xffffffffffffffff:0xffffffff:0xffffffff]": {Seq: 1<<64 - 1, Oid: 1<<32 - 1, Ver: 1<<32 - 1},
		"[0x1:0x2:0x3]": {Seq: 1, Oid: 2, Ver: 3},
	} {
		same(t, "String", fid.String(), text)
		same(t, "AppendTo", string(fid.AppendTo([]byte("t="))), "t="+text)
		parsed, err := changelog.ParseFID(text)
		same(t, "ParseFID", parsed, fid)
		same(t, "error", err, nil)
	}
}

func TestParseFIDTakesWhatToolsPrint(t *testing.T) {
	want := changelog.FID{Seq: 0x200000402, Oid: 0x1a3, Ver: 1}
	for _, text := range []string{"[0x200000402:0x1a3:0x1]", "0x200000402:0x1a3:0x1", "200000402:1a3:1", "[200000402:1A3:01]"} {
		got, err := changelog.ParseFID(text)
		same(t, "ParseFID of "+text, got, want)
		same(t, "error", err, nil)
	}
}

func TestParseFIDRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                          `FID "" is not of the form [0xSEQ:0xOID:0xVER]`,
		"[]":                        `FID "[]" is not of the form [0xSEQ:0xOID:0xVER]`,
		"[":                         `FID "[" is not of the form [0xSEQ:0xOID:0xVER]`,
		"0x1:0x2":                   `FID "0x1:0x2" is not of the form [0xSEQ:0xOID:0xVER]`,
		"1:2:3:4":                   `FID "1:2:3:4" is not of the form [0xSEQ:0xOID:0xVER]`,
		"[0x1:0x2:0x3":              `FID "[0x1:0x2:0x3": "[0x1" is not a hexadecimal number of 64 bits`,
		"0x1:0x2:0x3]":              `FID "0x1:0x2:0x3]": "0x3]" is not a hexadecimal number of 32 bits`,
		"[[1:2:3]]":                 `FID "[[1:2:3]]": "[1" is not a hexadecimal number of 64 bits`,
		"::":                        `FID "::": "" is not a hexadecimal number of 64 bits`,
		"1:0x:3":                    `FID "1:0x:3": "0x" is not a hexadecimal number of 32 bits`,
		"0x10000000000000000:0x0:0": `FID "0x10000000000000000:0x0:0": "0x10000000000000000" is not a hexadecimal number of 64 bits`,
		"1:100000000:0":             `FID "1:100000000:0": "100000000" is not a hexadecimal number of 32 bits`,
		"1:0:100000000":             `FID "1:0:100000000": "100000000" is not a hexadecimal number of 32 bits`,
		"-1:0:0":                    `FID "-1:0:0": "-1" is not a hexadecimal number of 64 bits`,
		" 1:0:0":                    `FID " 1:0:0": " 1" is not a hexadecimal number of 64 bits`,
		"0x0x1:0:0":                 `FID "0x0x1:0:0": "0x0x1" is not a hexadecimal number of 64 bits`,
		"1_0:0:0":                   `FID "1_0:0:0": "1_0" is not a hexadecimal number of 64 bits`,
	} {
		got, err := changelog.ParseFID(text)
		same(t, "FID beside the error", got, changelog.FID{})
		failsWith(t, err, want)
	}
}

// The version plays no part in being zero (ABI 1.2).
func TestFIDIsZero(t *testing.T) {
	for fid, want := range map[changelog.FID]bool{
		{}:                true,
		{Ver: 1}:          true,
		{Seq: 1}:          false,
		{Oid: 1}:          false,
		{Seq: 1 << 63}:    false,
		{Oid: 1 << 31}:    false,
		{Ver: 1<<32 - 1}:  true,
		{Oid: 1, Ver: 1}:  false,
		{Seq: 1, Ver: 99}: false,
	} {
		same(t, "IsZero of "+fid.String(), fid.IsZero(), want)
	}
}

func TestFIDInJSON(t *testing.T) {
	want := map[changelog.FID]changelog.FID{{Seq: 1, Oid: 2, Ver: 3}: {Seq: 4}}
	text, err := json.Marshal(want)
	same(t, "error", err, nil)
	same(t, "JSON", string(text), `{"[0x1:0x2:0x3]":"[0x4:0x0:0x0]"}`)
	var got map[changelog.FID]changelog.FID
	same(t, "error", json.Unmarshal(text, &got), nil)
	same(t, "value", got[changelog.FID{Seq: 1, Oid: 2, Ver: 3}], changelog.FID{Seq: 4})

	fid := changelog.FID{Seq: 9}
	if err := fid.UnmarshalText([]byte("nonsense")); err == nil {
		t.Error("nonsense was accepted")
	}
	same(t, "FID after an error", fid, changelog.FID{Seq: 9})
}
