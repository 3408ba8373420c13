package state

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/iotest"
)

func TestBackupAndRestore(t *testing.T) {
	s := newStore(t, 3)
	check(t, s.Write(fullUpdate(20, 3, 100)))
	want := mustLoad(t, s)
	copied := backup(t, s)
	check(t, s.Write(fullUpdate(20, 3, 200)))
	newer := mustLoad(t, s)
	check(t, s.Close())

	fresh := filepath.Join(memoryDir(t), "fresh")
	check(t, restoreFrom(fresh, bytes.NewReader(copied)))
	f := mustOpen(t, fresh)
	checkEqual(t, "content elsewhere", mustLoad(t, f), want)
	check(t, f.Write(fullUpdate(20, 3, 300)))
	checkBolt(t, f)

	check(t, restoreFrom(s.dir, bytes.NewReader(copied)))
	s = mustOpen(t, s.dir)
	for i := range want.MDTs { // what was cleared since stays cleared
		want.MDTs[i].Cleared = newer.MDTs[i].Cleared
		want.MDTs[i].Read = max(want.MDTs[i].Read, newer.MDTs[i].Cleared)
	}
	for i, x := range want.Tracks {
		want.Tracks[i].Mark, want.Tracks[i].Ceiling = 200, max(x.Ceiling, 200)
	}
	checkEqual(t, "content", mustLoad(t, s), want)
	check(t, s.Write(fullUpdate(20, 3, 200)))
	replaced, err := readFile(filepath.Join(s.dir, oldName), thisSchema())
	check(t, err)
	old, err := decode(replaced.content)
	check(t, err)
	checkEqual(t, "content that was replaced", old, newer)
	checkEqual(t, "files", names(s.dir), "state.db state.db.old state.lock ")
}

// What is damaged, or too new, can be replaced by a backup.
func TestRestoreOverDamage(t *testing.T) {
	s := newStore(t, 3)
	copied, want := backup(t, s), mustLoad(t, s)
	check(t, s.Close())
	check(t, os.WriteFile(filepath.Join(s.dir, fileName), copied[:5000], 0o644))
	_, err := Open(s.dir)
	checkIs(t, err, ErrDamaged)
	check(t, restoreFrom(s.dir, bytes.NewReader(copied)))
	checkEqual(t, "content", mustLoad(t, mustOpen(t, s.dir)), want)
}

func TestRestoreRefuses(t *testing.T) {
	s := newStore(t, 3)
	check(t, s.Write(fullUpdate(20, 3, 100)))
	want, copied := mustLoad(t, s), backup(t, s)
	check(t, s.Close())
	other := filepath.Join(memoryDir(t), "other")
	check(t, Init(other, Identity{FileSystem: "work"}))
	others := backup(t, mustOpen(t, other))
	broken := errors.New("broken pipe")
	for _, tt := range []struct {
		name string
		from io.Reader
		want error
	}{
		{"nothing", bytes.NewReader(nil), ErrForeign},
		{"half", bytes.NewReader(copied[:len(copied)/2]), ErrDamaged},
		{"text", bytes.NewReader(bytes.Repeat([]byte("text"), 9999)), ErrForeign},
		{"that of another installation", bytes.NewReader(others), ErrForeign},
		{"broken", io.MultiReader(bytes.NewReader(copied[:9000]), iotest.ErrReader(broken)), broken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := restoreFrom(s.dir, tt.from)
			checkIs(t, err, tt.want)
			checkEqual(t, "files", names(s.dir), "state.db state.lock ")
			checkEqual(t, "content", mustLoad(t, mustOpen(t, s.dir)), want)
		})
	}
}

// restoreFrom restores a backup into dir.
func restoreFrom(dir string, r io.Reader) error {
	c, err := ReadBackup(r)
	if err == nil {
		_, err = c.Restore(dir)
	}
	return err
}

// tricky writes to the store whenever something is written to it.
type tricky struct {
	t    *testing.T
	s    *Store
	mark uint64
	into bytes.Buffer
}

func (w *tricky) Write(p []byte) (int, error) {
	for len(p) > 0 {
		w.mark++
		check(w.t, w.s.Write(fullUpdate(8, 3, w.mark)))
		n, _ := w.into.Write(p[:min(len(p), 500)]) // never fails
		p = p[n:]
	}
	return w.into.Len(), nil
}

// A backup is one moment, whatever is written while it is made.
func TestBackupWhileWriting(t *testing.T) {
	s := newStore(t, 3)
	w := &tricky{t: t, s: s, mark: 100}
	check(t, s.Write(fullUpdate(8, 3, 100)))
	for range 3 {
		want := mustLoad(t, s)
		w.into.Reset()
		check(t, s.Backup(w))
		got, err := read(w.into.Bytes())
		check(t, err)
		checkEqual(t, "content of the backup", got, want)
	}
	if w.mark < 150 {
		t.Errorf("only %d writes meanwhile", w.mark-100)
	}
}

// A state file that was simply copied while lcapd writes is right, or noticed.
func TestCopyWhileWriting(t *testing.T) {
	t.Parallel()
	s := newStore(t, 3)
	check(t, s.Write(fullUpdate(40, 3, 1)))
	done, copied := make(chan struct{}), make(chan []byte)
	go func() {
		defer close(copied)
		for {
			data, err := readSlowly(filepath.Join(s.dir, fileName))
			if err != nil {
				t.Error(err)
				return
			}
			select {
			case copied <- data:
			case <-done:
				return
			}
		}
	}()
	right, noticed := 0, 0
	for mark := uint64(2); right+noticed < 80; mark++ {
		check(t, s.Write(fullUpdate(40, 3, mark)))
		select {
		case data := <-copied:
			if all, err := read(data); err == nil {
				right++
				for _, x := range all.Tracks {
					checkEqual(t, "mark", x.Mark, all.Tracks[0].Mark)
				}
			} else {
				checkIs(t, err, ErrDamaged)
				noticed++
			}
		default:
		}
	}
	close(done)
	for range copied { // wait for the goroutine
	}
	t.Logf("%d copies were right, %d were not", right, noticed)
}

// readSlowly reads a file in small pieces.
func readSlowly(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var data []byte
	piece := make([]byte, 3000)
	for {
		n, err := f.Read(piece)
		data = append(data, piece[:n]...)
		if err == io.EOF {
			return data, nil
		} else if err != nil {
			return nil, err
		}
		runtime.Gosched()
	}
}

func TestBackupFails(t *testing.T) {
	s := newStore(t, 1)
	broken := errors.New("broken pipe")
	r, w := io.Pipe()
	check(t, r.CloseWithError(broken))
	checkIs(t, s.Backup(w), broken)
	check(t, s.Write(fullUpdate(1, 1, 1)))
}
