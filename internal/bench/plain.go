package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/lcapd/lcapd/changelog"
)

// writeBytes is how much the limit sends with one write: what lcapd's batches hold.
const writeBytes = 128 << 10

// network translates an address as lcapd has it.
func network(addr string) (network, where string) {
	if path, ok := strings.CutPrefix(addr, "ipc://"); ok {
		return "unix", path
	}
	return "tcp", strings.TrimPrefix(addr, "tcp://")
}

// listenAt listens at an address, and returns it as it is then.
func listenAt(addr string) (net.Listener, string, error) {
	kind, where := network(addr)
	l, err := net.Listen(kind, where)
	if err != nil {
		return nil, "", err
	}
	if strings.HasPrefix(addr, "tcp://") {
		addr = "tcp://" + l.Addr().String()
	}
	return l, addr, nil
}

func dial(addr string) (net.Conn, error) {
	kind, where := network(addr)
	return net.Dial(kind, where)
}

// newReceivers connects to a sender. Each connection is read into one buffer that is
// used again, and each record is framed.
func newReceivers(spec peerSpec) (*peer, error) {
	p := new(peer)
	var open []net.Conn
	p.close = func() {
		for _, c := range open {
			_ = c.Close()
		}
	}
	for range spec.Conns {
		conn, err := dial(spec.Addr)
		if err != nil {
			p.close()
			return nil, err
		}
		open = append(open, conn)
		r := &receiver{conn: conn, buf: make([]byte, 2*writeBytes), head: spec.Rate > 0}
		p.workers = append(p.workers, r.work)
	}
	return p, nil
}

// receiver is the receiving end of the limit.
type receiver struct {
	conn net.Conn
	buf  []byte
	n    int  // bytes in buf: the beginning of a record
	head bool // each write begins with a header, which says nothing: nothing is framed then
}

// work reads until ctx ends.
func (r *receiver) work(ctx context.Context, t *tally) error {
	if err := r.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		_ = r.conn.SetReadDeadline(time.Unix(1, 0))
	})
	defer func() {
		if !stop() {
			<-ended // else it may end the next measuring
		}
	}()
	for {
		n, err := r.conn.Read(r.buf[r.n:])
		if n > 0 {
			t.At = time.Now()
			t.Batches++
			if e := r.frame(t, n); e != nil {
				return e
			}
		}
		switch {
		case ctx.Err() != nil && (err == nil || errors.Is(err, os.ErrDeadlineExceeded)):
			return nil
		case err != nil:
			return err
		}
	}
}

// frame looks at each whole record, and keeps the rest.
func (r *receiver) frame(t *tally, n int) error {
	r.n += n
	if r.head {
		t.Bytes += uint64(n)
		r.n = 0
		return nil
	}
	scan := changelog.NewScanner(r.buf[:r.n])
	for scan.Scan() {
		t.look(scan.Record())
	}
	if err := scan.Err(); err != nil && !errors.Is(err, changelog.ErrTruncated) {
		return err
	}
	r.n = copy(r.buf, r.buf[scan.Offset():r.n])
	return nil
}

// newSender listens and sends to everybody who connects, without end.
func newSender(spec peerSpec) (*peer, error) {
	template, err := os.ReadFile(spec.Records)
	if err != nil {
		return nil, err
	}
	l, addr, err := listenAt(spec.Addr)
	if err != nil {
		return nil, err
	}
	s := &sender{chunks: chunksOf(template, spec.Bytes)}
	if spec.Rate > 0 {
		s.record = template[:firstSize(template)]
		s.rate, s.begin = spec.Rate, newTick()
		go s.tick(s.begin)
	}
	go s.accept(l, spec)
	return &peer{addr: addr, close: func() { _ = l.Close() }}, nil
}

func firstSize(packed []byte) int {
	r, _, err := changelog.Next(packed)
	if err != nil {
		return 0
	}
	return r.Size()
}

// sender is the sending end of the limit.
type sender struct {
	chunks [][]byte // whole records, one write each
	rate   int      // records a second to each connection; 0: as many as go
	begin  *tick
	record []byte
}

// chunksOf repeats records under new indexes, in chunks of one write, until there are so many bytes.
func chunksOf(template []byte, bytes int64) (chunks [][]byte) {
	index := uint64(1)
	for held := int64(0); held < max(bytes, 1); {
		all := append([]byte(nil), template...)
		held += int64(len(all))
		begin, at := 0, 0
		for at < len(all) {
			size := firstSize(all[at:])
			if at+size-begin > writeBytes {
				chunks = append(chunks, all[begin:at])
				begin = at
			}
			changelog.SetIndex(all[at:], index)
			index++
			at += size
		}
		chunks = append(chunks, all[begin:])
	}
	return chunks
}

// accept serves who connects.
func (s *sender) accept(l net.Listener, spec peerSpec) {
	for n := 0; ; n++ {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		from := 0
		if spec.Spread && spec.Conns > 0 {
			from = n % spec.Conns * len(s.chunks) / spec.Conns
		}
		go s.serve(conn, from)
	}
}

// serve sends until the other end is gone.
func (s *sender) serve(conn net.Conn, from int) {
	defer conn.Close()
	if s.rate > 0 {
		s.pace(conn)
		return
	}
	for i := from; ; i++ {
		if _, err := conn.Write(s.chunks[i%len(s.chunks)]); err != nil {
			return
		}
	}
}

// tickEvery is how often a paced sender sends: as often as lcapd's source shows records.
const tickEvery = 5 * time.Millisecond

// tick is a moment at which records are sent, to everybody the same. It never changes after ready is closed.
type tick struct {
	ready   chan struct{}
	records int
	next    *tick
}

func newTick() *tick { return &tick{ready: make(chan struct{})} }

// tick says when to send how many records.
func (s *sender) tick(t *tick) {
	began, sent := time.Now(), 0
	for now := range time.Tick(tickEvery) {
		due := int(now.Sub(began).Seconds() * float64(s.rate))
		t.records, t.next = due-sent, newTick()
		close(t.ready)
		t, sent = t.next, due
	}
}

// pace sends a header of a batch's size and the records of each tick with one writev.
func (s *sender) pace(conn net.Conn) {
	header := make([]byte, 110)
	for t := s.begin; ; t = t.next {
		<-t.ready
		part := s.chunks[0]
		part = part[:min(len(part), t.records*len(s.record))]
		if len(part) == 0 {
			continue
		}
		bufs := net.Buffers{header, part}
		if _, err := bufs.WriteTo(conn); err != nil {
			return
		}
	}
}

// newEcho listens, and writes back what it reads.
func newEcho(spec peerSpec) (*peer, error) {
	l, addr, err := listenAt(spec.Addr)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go echo(conn)
		}
	}()
	return &peer{addr: addr, close: func() { _ = l.Close() }}, nil
}

func echo(conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		if _, err := conn.Write(buf[:n]); err != nil {
			return
		}
	}
}

// roundTrips measures round trips of so many bytes with an echo, one each interval, until ctx ends.
func roundTrips(ctx context.Context, addr string, bytes int, every time.Duration) (h histogram, err error) {
	conn, err := dial(addr)
	if err != nil {
		return nil, fmt.Errorf("the echo: %w", err)
	}
	defer conn.Close()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	buf := make([]byte, bytes)
	for {
		select {
		case <-ctx.Done():
			return h, nil
		case <-ticker.C:
		}
		began := time.Now()
		if _, err := conn.Write(buf); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(conn, buf); err != nil {
			return nil, err
		}
		h.add(time.Since(began), 1)
	}
}
