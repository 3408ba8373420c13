package changelog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// jsonRecord is the object that [Record.AppendJSON] writes. A nil field is absent.
type jsonRecord struct {
	MDT             *string `json:"mdt"`
	MDTB64          []byte  `json:"mdt_b64"`
	Index           uint64  `json:"index"`
	Prev            uint64  `json:"prev"`
	RecordType      *string `json:"record_type"`
	Time            *string `json:"time"`
	Flags           *Flags  `json:"flags"`
	TargetFID       *FID    `json:"target_fid"`
	ParentFID       *FID    `json:"parent_fid"`
	SourceFID       *FID    `json:"source_fid"`
	SourceParentFID *FID    `json:"source_parent_fid"`
	Filename        *string `json:"filename"`
	FilenameB64     []byte  `json:"filename_b64"`
	SourceName      *string `json:"source_name"`
	SourceNameB64   []byte  `json:"source_name_b64"`
	JobID           *string `json:"job_id"`
	JobIDB64        []byte  `json:"job_id_b64"`
	XattrName       *string `json:"xattr_name"`
	XattrNameB64    []byte  `json:"xattr_name_b64"`

	ExtraFlags  *Extra       `json:"extra_flags"`
	UID         *uint64      `json:"uid"`
	GID         *uint64      `json:"gid"`
	ClientNID   *NID         `json:"client_nid"`
	OpenFlags   *OpenFlags   `json:"open_flags"`
	MarkerFlags *MarkerFlags `json:"marker_flags"`
}

// ParseJSON reads one object of the form that [Record.AppendJSON] writes. Only
// record_type must be there. Where flags or extra_flags are missing they follow
// from the other members, as a current server would set them. mdt is not part of
// a record and is dropped. An unknown member is an error: it is more often a typing
// mistake than a wish.
func ParseJSON(data []byte) (Fields, error) {
	var j jsonRecord
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&j); err != nil {
		return Fields{}, fmt.Errorf("parse JSON record: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return Fields{}, errors.New("parse JSON record: more follows behind the object")
	}
	f, err := j.fields()
	if err != nil {
		return Fields{}, fmt.Errorf("parse JSON record: %w", err)
	}
	return f, nil
}

func (j *jsonRecord) fields() (f Fields, err error) {
	if j.RecordType == nil {
		return f, errors.New("record_type is missing, such as \"CREAT\"")
	}
	if f.Type, err = ParseType(*j.RecordType); err != nil {
		return f, fmt.Errorf("record_type: %w", err)
	}
	if j.Time != nil {
		t, err := time.Parse(time.RFC3339Nano, *j.Time)
		if err != nil {
			return f, fmt.Errorf("time: %w", err)
		}
		f.Time = TimeOf(t)
	}
	f.Index, f.Prev = j.Index, j.Prev
	f.Target, f.Parent = value(j.TargetFID), value(j.ParentFID)
	f.Source, f.SourceParent = value(j.SourceFID), value(j.SourceParentFID)
	if j.MarkerFlags != nil {
		f.Target = MarkerTarget(*j.MarkerFlags)
	}
	f.Name = either(j.Filename, j.FilenameB64)
	f.SourceName = either(j.SourceName, j.SourceNameB64)
	f.JobID = either(j.JobID, j.JobIDB64)
	f.XattrName = either(j.XattrName, j.XattrNameB64)
	f.UID, f.GID = value(j.UID), value(j.GID)
	f.NID, f.OpenMode = value(j.ClientNID), value(j.OpenFlags)
	f.Format, f.Payload = j.format()
	return f, nil
}

// format returns the flags given, or those that the members imply.
func (j *jsonRecord) format() (Format, Flags) {
	var format Format
	if j.ExtraFlags != nil {
		format.Extra = *j.ExtraFlags
	} else {
		format.Extra = flagIf(j.UID != nil || j.GID != nil, ExtraUIDGID) |
			flagIf(j.ClientNID != nil, ExtraNID|ExtraNIDBE) |
			flagIf(j.OpenFlags != nil, ExtraOpen) |
			flagIf(j.XattrName != nil || j.XattrNameB64 != nil, ExtraXattr)
	}
	if j.Flags != nil {
		format.Flags = *j.Flags & FlagsFormat
		return format, *j.Flags & FlagsPayload
	}
	isRename := j.SourceFID != nil || j.SourceParentFID != nil || j.SourceName != nil || j.SourceNameB64 != nil
	format.Flags = flagIf(isRename, FlagRename) |
		flagIf(!isRename, FlagVersion) |
		flagIf(j.JobID != nil || j.JobIDB64 != nil, FlagJobID) |
		flagIf(j.ExtraFlags != nil || format.Extra != 0, FlagExtra)
	return format, 0
}

func flagIf[T ~uint16 | ~uint64](present bool, flag T) T {
	if present {
		return flag
	}
	return 0
}

// value returns *p, or zero for an absent member.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// either returns the text, or the bytes that stand for it where it is not UTF-8.
func either(text *string, b64 []byte) string {
	if text != nil {
		return *text
	}
	return string(b64)
}
