//go:build bench

package storage

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/vfs"
)

const (
	readFile  = 128 << 20 // bytes of the segment that is read, all of it in the page cache
	readBytes = 512 << 20 // what each side sends in a round
)

// reading is a segment's file, and a connection to send it on.
type reading struct {
	log     *storage.Log
	file    *os.File
	batch   int64 // bytes of each batch
	records int64 // in each batch
	batches int64
	conn    *socket
}

// socket keeps its raw form, as the broker's connections do.
type socket struct {
	*net.TCPConn
	raw syscall.RawConn
}

func (s *socket) SyscallConn() (syscall.RawConn, error) { return s.raw, nil }

// measureRead sends ranges of a log over loopback, and the same ranges of the same file by the best bare loop.
func measureRead(t *testing.T) []row {
	s := openStore(t, vfs.OS(), tempDir(t))
	defer closeStore(t, s)
	r := &reading{log: create(t, s, 0, storage.DefaultConfig()), conn: loopback(t)}
	data := sized(16<<10, -1)
	r.batch, r.records, r.batches = int64(len(data)), int64(data.Count()), readFile/int64(len(data))
	fill(t, r.log, int(r.batches), 16<<10)
	f, err := os.Open(filepath.Join(r.log.Dir(), fmt.Sprintf("%020d.log", 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r.file = f

	var rows []row
	for _, size := range []struct {
		name    string
		batches int64
	}{{"16 KB", 1}, {"64 KB", 4}, {"1 MB", 64}} {
		var bare, ours speeds
		for round := range *rounds + 1 {
			send, copied := r.send(t, size.batches), r.copy(t, size.batches)
			mine := r.read(t, size.batches)
			if round > 0 {
				bare, ours = append(bare, better(send, copied)), append(ours, mine)
			}
		}
		what := fmt.Sprintf("read ranges of %s, against the better of sendfile and pread+write", size.name)
		objects, bytes := allocations(t, 2000, func() error { return r.one(0, size.batches) })
		rows = append(rows, compare(what, bare, ours, ">= 0.80"), allocationRow(t, "read "+size.name, objects, bytes))
	}
	return rows
}

// each calls send for the ranges of n batches, one after the other, until readBytes are sent.
func (r *reading) each(t testing.TB, n int64, send func(first int64) error) speed {
	sends := readBytes / (n * r.batch)
	return measure(t, int(sends*n*r.batch), func() error {
		first := int64(0)
		for range sends {
			if err := send(first); err != nil {
				return err
			}
			if first += n; first+n > r.batches {
				first = 0
			}
		}
		return nil
	})
}

// read sends through the log.
func (r *reading) read(t testing.TB, n int64) speed {
	return r.each(t, n, func(first int64) error { return r.one(first, n) })
}

func (r *reading) one(first, n int64) error {
	s, err := r.log.Read(protocol.Offset(first*r.records), protocol.Offset(r.batches*r.records), int(n*r.batch), true)
	if err != nil {
		return err
	}
	defer s.Release()
	sent, err := s.WriteTo(r.conn)
	if err == nil && sent != n*r.batch {
		err = fmt.Errorf("%d bytes sent, not %d", sent, n*r.batch)
	}
	return err
}

// send is the bare loop with sendfile.
func (r *reading) send(t testing.TB, n int64) speed {
	return r.each(t, n, func(first int64) error {
		off, end := first*r.batch, (first+n)*r.batch
		var fault error
		err := r.conn.raw.Write(func(fd uintptr) bool {
			for off < end {
				_, err := unix.Sendfile(int(fd), int(r.file.Fd()), &off, int(end-off))
				switch {
				case errors.Is(err, unix.EAGAIN):
					return false
				case err != nil && !errors.Is(err, unix.EINTR):
					fault = err
					return true
				}
			}
			return true
		})
		return errors.Join(err, fault)
	})
}

// copy is the bare loop with pread and write.
func (r *reading) copy(t testing.TB, n int64) speed {
	buf := make([]byte, n*r.batch)
	return r.each(t, n, func(first int64) error {
		if _, err := r.file.ReadAt(buf, first*r.batch); err != nil {
			return err
		}
		_, err := r.conn.Write(buf)
		return err
	})
}

// loopback is a connection to a process that throws away what it gets.
func loopback(t testing.TB) *socket {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"=drain")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", strings.TrimSpace(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		_ = cmd.Wait()
	})
	tcp := c.(*net.TCPConn)
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return &socket{TCPConn: tcp, raw: raw}
}

// drainInChild prints where it listens, takes one connection, and reads it to its end.
func drainInChild() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	c, err := ln.Accept()
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for {
		if _, err := c.Read(buf); err != nil {
			return nil
		}
	}
}
