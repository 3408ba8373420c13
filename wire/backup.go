package wire

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// Backup is the answer to [OpBackup].
type Backup struct {
	State []byte `json:"state"` // the file, compressed by gzip: most of it repeats itself
}

// PackBackup makes the answer of a state file.
func PackBackup(file []byte) (Backup, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(file)
	if err := errors.Join(err, z.Close()); err != nil {
		return Backup{}, fmt.Errorf("pack the backup: %w", err)
	}
	return Backup{State: b.Bytes()}, nil
}

// maxBackup is the largest state file that is unpacked, in bytes: some hundred times what
// the largest site has.
const maxBackup = 1 << 30

// File returns the state file.
func (b Backup) File() ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b.State))
	if err != nil {
		return nil, fmt.Errorf("unpack the backup: %w", err)
	}
	file, err := io.ReadAll(io.LimitReader(z, maxBackup+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("unpack the backup: %w", err)
	case len(file) > maxBackup:
		return nil, fmt.Errorf("unpack the backup: it has more than %d bytes", maxBackup)
	}
	return file, nil
}
