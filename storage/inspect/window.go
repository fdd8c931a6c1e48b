package inspect

import (
	"fmt"
	"io"

	"moldau.io/moldau/storage/vfs"
)

// windowBytes is how much of a file is read at a time.
const windowBytes = 256 << 10

// window reads a file from front to back through one buffer.
type window struct {
	f    vfs.File
	name string
	size int64 // of the file when it was opened
	buf  []byte
	at   int64 // the position of the buffer's first byte
	n    int   // bytes in the buffer
}

func newWindow(fsys vfs.FS, name string) (*window, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		_ = f.Close() // the first error says more
		return nil, err
	}
	return &window{f: f, name: name, size: size, buf: make([]byte, min(windowBytes, max(size, 1)))}, nil
}

func (w *window) close() { _ = w.f.Close() }

// bytes are the n bytes at pos, valid until the next call. n is at most windowBytes, and pos+n at most w.size.
func (w *window) bytes(pos int64, n int) ([]byte, error) {
	if pos < w.at || pos+int64(n) > w.at+int64(w.n) {
		want := min(int64(len(w.buf)), w.size-pos)
		got, err := w.f.ReadAt(w.buf[:want], pos)
		if got < n {
			if err == io.EOF {
				err = fmt.Errorf("the file has become shorter: %w", io.ErrUnexpectedEOF)
			}
			w.n = 0
			return nil, fmt.Errorf("read %s at byte %d: %w", w.name, pos, err)
		}
		w.at, w.n = pos, got
	}
	return w.buf[pos-w.at:][:n], nil
}
