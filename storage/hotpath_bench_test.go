package storage

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

// sized is a batch of about n bytes in records of 1 KiB.
func sized(t testing.TB, n int) batch.Batch {
	t.Helper()
	b := batch.NewBuilder(batch.BuilderOptions{})
	value := make([]byte, min(n, 1024)-80)
	for at := 0; at < n; at += 1024 {
		b.Add(1_700_000_000_000, nil, value)
	}
	return b.Build()
}

func benchLog(t testing.TB, segmentBytes int64) *Log {
	t.Helper()
	s := openStore(t, vfs.OS(), t.TempDir(), options())
	t.Cleanup(func() { closeStore(t, s) })
	cfg := DefaultConfig()
	cfg.SegmentBytes = segmentBytes
	return create(t, s, cfg)
}

// TestAppendAllocatesNothing and TestReadAllocatesNothing hold the hot paths to what they are built for.
func TestAppendAllocatesNothing(t *testing.T) {
	l := benchLog(t, 1<<30)
	b := sized(t, 16<<10)
	now := time.Now()
	bs := []batch.Batch{b}
	for range 600 { // past the first spills of the indexes
		mustAppend(t, l, bs...)
	}
	allocs := testing.AllocsPerRun(1000, func() {
		if _, err := l.Append(now, 0, bs...); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 0 {
		t.Fatalf("%v allocations an append", allocs)
	}
}

// cpu reports the processor time of the whole process an operation: on a busy machine it says more than the clock.
func cpu(b *testing.B) func() {
	began := processorTime(b)
	return func() { b.ReportMetric(float64(processorTime(b)-began)/float64(b.N), "cpu-ns/op") }
}

func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"16KB", 16 << 10}, {"1MB", 1 << 20}} {
		data := sized(b, size.bytes)
		b.Run(size.name+"/log", func(b *testing.B) {
			l := benchLog(b, 1<<28)
			now := time.Now()
			bs := []batch.Batch{data}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			defer cpu(b)()
			for b.Loop() {
				if _, err := l.Append(now, 0, bs...); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(size.name+"/pwrite", func(b *testing.B) {
			dir := b.TempDir()
			b.SetBytes(int64(len(data)))
			defer cpu(b)()
			var f *os.File
			at, n := int64(1<<62), 0
			for b.Loop() {
				if at+int64(len(data)) > 1<<28 {
					if f != nil {
						f.Close()
					}
					var err error
					if f, err = os.Create(filepath.Join(dir, fmt.Sprint(n))); err != nil {
						b.Fatal(err)
					}
					at, n = 0, n+1
				}
				if _, err := f.WriteAt(data, at); err != nil {
					b.Fatal(err)
				}
				at += int64(len(data))
			}
			f.Close()
		})
	}
}

// loopback is a connection whose other end throws away what it gets.
func loopback(b *testing.B) *net.TCPConn {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 1<<20)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		c.Close()
		ln.Close()
		<-done
	})
	return c.(*net.TCPConn)
}

// plainWriter hides that the connection is a socket, so that the slice is copied.
type plainWriter struct{ io.Writer }

func BenchmarkRead(b *testing.B) {
	l := benchLog(b, 1<<28)
	data := sized(b, 64<<10)
	for range 1000 {
		mustAppend(b, l, data)
	}
	end := l.Bounds().End
	for _, size := range []struct {
		name  string
		bytes int
	}{{"16KB", 16 << 10}, {"64KB", 64 << 10}, {"256KB", 256 << 10}, {"1MB", 1 << 20}, {"8MB", 8 << 20}} {
		for _, way := range []string{"chosen", "sendfile", "copy", "bare"} {
			b.Run(size.name+"/"+way, func(b *testing.B) {
				conn := loopback(b)
				raw := make([]byte, size.bytes)
				b.SetBytes(int64(size.bytes))
				b.ReportAllocs()
				defer cpu(b)()
				var at protocol.Offset
				for b.Loop() {
					if way == "bare" {
						if _, err := conn.Write(raw); err != nil {
							b.Fatal(err)
						}
						continue
					}
					s, err := l.Read(at, end, size.bytes, true)
					if err != nil {
						b.Fatal(err)
					}
					switch way {
					case "chosen":
						_, err = s.WriteTo(conn)
					case "sendfile":
						_, err = s.Sendfile(conn)
					case "copy":
						_, err = s.WriteTo(plainWriter{conn})
					}
					s.Release()
					if err != nil {
						b.Fatal(err)
					}
					if at += 64; at > end/2 {
						at = 0
					}
				}
			})
		}
	}
}

func BenchmarkFind(b *testing.B) {
	l := benchLog(b, 1<<28)
	data := sized(b, 1<<10)
	for range 100_000 {
		mustAppend(b, l, data)
	}
	end := l.Bounds().End
	for _, where := range []string{"tail", "middle"} {
		b.Run(where, func(b *testing.B) {
			at := end - 5
			b.ReportAllocs()
			for b.Loop() {
				if where == "middle" {
					at = (at*7 + 11) % end
				}
				s, err := l.Read(at, end, 1<<20, true)
				if err != nil {
					b.Fatal(err)
				}
				s.Release()
			}
		})
	}
}
