package compress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/s2"
)

// xerialMagic begins the framing of snappy-java, the library of Kafka's Java client:
//
//	0        8         12           16           20
//	+--------+---------+------------+------------+--------------+------------+---
//	| magic  | version | compatible | chunk size | snappy block | chunk size | ...
//	+--------+---------+------------+------------+--------------+------------+---
//
// Integers are big endian. Other clients write one raw snappy block instead. The two versions are not checked: writers
// exist that put them in little endian, and there is only one layout.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const (
	xerialHeaderBytes = 16
	xerialChunkBytes  = 32 << 10 // what snappy-java cuts its input into
	// A snappy element of three bytes copies at most 64, so honest data grows at most this much.
	snappyExpansionMax = 22
	snappyKeepBytes    = 256 << 10
)

// snappyReader reads both framings. A block must be decompressed whole, so its declared length is checked first: nine
// bytes can declare 4 GiB.
type snappyReader struct {
	src     []byte
	limit   int64 // output bytes allowed in all
	xerial  bool
	out     []byte // decompressed and not yet read
	scratch []byte
}

func (s *snappyReader) reset(src []byte, limit int64) {
	s.src, s.limit, s.out = src, limit, nil
	s.xerial = bytes.HasPrefix(src, xerialMagic)
	if s.xerial {
		s.src = src[min(xerialHeaderBytes, len(src)):]
	}
}

// shrink lets go of the input, and of a buffer that is too large to keep.
func (s *snappyReader) shrink() {
	s.src, s.out = nil, nil
	if cap(s.scratch) > snappyKeepBytes {
		s.scratch = nil
	}
}

func (s *snappyReader) Read(p []byte) (int, error) {
	for len(s.out) == 0 {
		block, err := s.block()
		if err != nil {
			return 0, err
		}
		if err := s.decode(block); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.out)
	s.out = s.out[n:]
	return n, nil
}

// block takes the next compressed block off the source.
func (s *snappyReader) block() ([]byte, error) {
	if len(s.src) == 0 {
		return nil, io.EOF
	}
	if !s.xerial {
		block := s.src
		s.src = nil
		return block, nil
	}
	if bytes.HasPrefix(s.src, xerialMagic) { // streams may be written one after the other
		s.src = s.src[min(xerialHeaderBytes, len(s.src)):]
		return s.block()
	}
	if len(s.src) < 4 {
		return nil, io.ErrUnexpectedEOF
	}
	size := binary.BigEndian.Uint32(s.src)
	if int64(size) > int64(len(s.src)-4) {
		return nil, fmt.Errorf("a chunk of %d bytes with %d left: %w", size, len(s.src)-4, io.ErrUnexpectedEOF)
	}
	block := s.src[4 : 4+size]
	s.src = s.src[4+size:]
	return block, nil
}

func (s *snappyReader) decode(block []byte) error {
	n, err := s2.DecodedLen(block)
	if err != nil {
		return err
	}
	if n > len(block)*snappyExpansionMax {
		return fmt.Errorf("a block of %d bytes says it holds %d", len(block), n)
	}
	if int64(n) > s.limit {
		return ErrLimit
	}
	s.limit -= int64(n)
	if cap(s.scratch) < n {
		s.scratch = make([]byte, n)
	}
	s.out, err = s2.Decode(s.scratch[:n], block)
	if err == nil && len(s.out) != n {
		err = errors.New("a block is shorter than it says")
	}
	return err
}
