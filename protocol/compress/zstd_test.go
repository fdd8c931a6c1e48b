package compress_test

import (
	"bytes"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// zstdWithWindow compresses as a client with a large window does.
func zstdWithWindow(t *testing.T, plain []byte, window int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		t.Fatal(err)
	}
	for rest := plain; len(rest) > 0; rest = rest[min(len(rest), 1<<16):] { // in pieces, so that the size is not known
		if _, err := w.Write(rest[:min(len(rest), 1<<16)]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
