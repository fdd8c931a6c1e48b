package link

import (
	"encoding/binary"
	"io"
	"net"
	"sync"

	"github.com/flynn/noise"
)

// sealed is a connection whose bytes are encrypted and authenticated after a Noise handshake. Each of its records is
//
//	0          2
//	+----------+-----------------------+
//	| bytes    | ciphertext with a tag |   bytes: of the rest, big endian
//	+----------+-----------------------+
type sealed struct {
	net.Conn

	in struct { // the reader's
		cipher *noise.CipherState
		record []byte // a record as it came
		plain  []byte // of it, what has not been read yet
	}
	out struct {
		mu     sync.Mutex
		cipher *noise.CipherState
		record []byte
	}
}

// plainBytesMax is how much goes into one record.
const plainBytesMax = 16 << 10

func (s *sealed) Read(p []byte) (int, error) {
	for len(s.in.plain) == 0 {
		var head [2]byte
		if _, err := io.ReadFull(s.Conn, head[:]); err != nil {
			return 0, err
		}
		n := int(binary.BigEndian.Uint16(head[:]))
		if cap(s.in.record) < n {
			s.in.record = make([]byte, n)
		}
		s.in.record = s.in.record[:n]
		if _, err := io.ReadFull(s.Conn, s.in.record); err != nil {
			return 0, err
		}
		plain, err := s.in.cipher.Decrypt(s.in.record[:0], nil, s.in.record)
		if err != nil {
			return 0, err
		}
		s.in.plain = plain
	}
	n := copy(p, s.in.plain)
	s.in.plain = s.in.plain[n:]
	return n, nil
}

func (s *sealed) Write(p []byte) (int, error) {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	done := 0
	for done < len(p) {
		part := p[done:min(len(p), done+plainBytesMax)]
		record, err := s.out.cipher.Encrypt(append(s.out.record[:0], 0, 0), nil, part)
		if err != nil {
			return done, err
		}
		s.out.record = record
		binary.BigEndian.PutUint16(record, uint16(len(record)-2))
		if _, err := s.Conn.Write(record); err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}

// noiseState begins a handshake of Noise's pattern NNpsk0: fresh keys at both ends, which only holders of the cluster key can
// agree on.
func noiseState(psk []byte, initiator bool) (*noise.HandshakeState, error) {
	return noise.NewHandshakeState(noise.Config{
		CipherSuite: noise.NewCipherSuite(noise.DH25519, noise.CipherAESGCM, noise.HashSHA256),
		Pattern:     noise.HandshakeNN, Initiator: initiator, Prologue: []byte(magic),
		PresharedKey: psk, PresharedKeyPlacement: 0,
	})
}
