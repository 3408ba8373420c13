package changelog

import (
	"fmt"
	"strconv"
	"strings"
)

// Type is the kind of operation that a record reports (ABI 2). A server may be
// newer than this list: every value is legal, and unknown ones pass through.
type Type uint32

// The record types, named by their Lustre mnemonics (ABI 2).
const (
	TypeMark   Type = 0  // internal marker; its target FID holds marker flags
	TypeCreat  Type = 1  // regular file created
	TypeMkdir  Type = 2  // directory created
	TypeHlink  Type = 3  // hard link to an existing inode
	TypeSlink  Type = 4  // symbolic link created
	TypeMknod  Type = 5  // device, fifo or socket created
	TypeUnlnk  Type = 6  // name of a non-directory removed
	TypeRmdir  Type = 7  // directory removed
	TypeRenme  Type = 8  // renamed; the source FID is what moved
	TypeRnmto  Type = 9  // second half of a rename, written by Lustre 2.0-2.2 only
	TypeOpen   Type = 10 // opened (audit)
	TypeClose  Type = 11 // closed
	TypeLyout  Type = 12 // layout changed
	TypeTrunc  Type = 13 // size changed
	TypeSattr  Type = 14 // mode, owner and similar changed
	TypeXattr  Type = 15 // extended attribute set or removed
	TypeHSM    Type = 16 // event of hierarchical storage management
	TypeMtime  Type = 17 // mtime changed
	TypeCtime  Type = 18 // ctime changed
	TypeAtime  Type = 19 // atime changed
	TypeMigrt  Type = 20 // inode moved to another MDT, which changes its FID
	TypeFLRW   Type = 21 // first write to a mirrored file
	TypeResync Type = 22 // mirror resynchronised
	TypeGxatr  Type = 23 // extended attribute read (audit)
	TypeNopen  Type = 24 // open denied (audit)

	// typeCount is the first code without a name.
	typeCount Type = 25
)

var typeNames = [typeCount]string{
	"MARK", "CREAT", "MKDIR", "HLINK", "SLINK", "MKNOD", "UNLNK", "RMDIR", "RENME", "RNMTO",
	"OPEN", "CLOSE", "LYOUT", "TRUNC", "SATTR", "XATTR", "HSM", "MTIME", "CTIME", "ATIME",
	"MIGRT", "FLRW", "RESYNC", "GXATR", "NOPEN",
}

// Known tells whether t has a mnemonic.
func (t Type) Known() bool { return t < typeCount }

// String returns the mnemonic, or the code in decimal for an unknown type.
func (t Type) String() string {
	if t.Known() {
		return typeNames[t]
	}
	return strconv.FormatUint(uint64(t), 10)
}

// appendTo appends what String returns.
func (t Type) appendTo(dst []byte) []byte {
	if t.Known() {
		return append(dst, typeNames[t]...)
	}
	return strconv.AppendUint(dst, uint64(t), 10)
}

// ParseType is the inverse of [Type.String]. Case does not matter.
func ParseType(s string) (Type, error) {
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return Type(n), nil
	}
	return typeNamed(s)
}

func typeNamed(s string) (Type, error) {
	for t, name := range typeNames {
		if strings.EqualFold(s, name) {
			return Type(t), nil
		}
	}
	return 0, fmt.Errorf("record type %q is unknown; the types are %s", s, MaskAll)
}
