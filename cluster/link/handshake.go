package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/flynn/noise"
)

// A connection begins, in each direction, with
//
//	0       8         9      10      12
//	+-------+---------+------+-------+------+
//	| magic | version | mode | bytes | rest |   bytes: of the rest, big endian
//	+-------+---------+------+-------+------+
//
// The dialer's mode says whether it has a key; the rest is then the first message of the Noise handshake. The other end
// answers with the same mode, and the second message, or with modeRefused, and the reason as a text. The first four bytes
// of magic are, to a Kafka broker, a request of 2 GiB, which it refuses at once; the last ends an HTTP server's first line.
//
// Then, encrypted where there is a key, both say hello: the dialer with two bytes of length and Peer's fields; the other
// end with the same behind one byte that is 1, or with 0 and a reason in place of the fields.
const (
	magic   = "\x7fmoldau\n"
	version = 1

	modePlain   = 0
	modeNoise   = 1
	modeRefused = 2

	prefaceBytes  = len(magic) + 4
	reasonBytes   = 1024
	noiseBytesMax = 256
)

func preface(mode byte, rest []byte) []byte {
	b := append([]byte(magic), version, mode)
	b = binary.BigEndian.AppendUint16(b, uint16(len(rest)))
	return append(b, rest...)
}

// strangerError says that the other end speaks something else.
type strangerError struct{ began []byte }

func (e *strangerError) Error() string { return "speaks something else: " + describeStranger(e.began) }

// readPreface reads no further than the first byte that is wrong.
func readPreface(r io.Reader, restMax int) (mode byte, rest []byte, err error) {
	var head [prefaceBytes]byte
	for n := 0; n < len(head); {
		m, err := r.Read(head[n:])
		n += m
		if k := min(n, len(magic)); string(head[:k]) != magic[:k] {
			return 0, nil, &strangerError{began: bytes.Clone(head[:n])}
		}
		if err != nil && n < len(head) {
			return 0, nil, err
		}
	}
	if head[len(magic)] == 0 {
		return 0, nil, &strangerError{began: head[:]}
	}
	mode = head[len(magic)+1]
	n := int(binary.BigEndian.Uint16(head[len(magic)+2:]))
	if n > restMax {
		return 0, nil, fmt.Errorf("%d bytes in the handshake where at most %d belong", n, restMax)
	}
	rest = make([]byte, n)
	_, err = io.ReadFull(r, rest)
	return mode, rest, err
}

func readLengthed(r io.Reader, most int) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(head[:]))
	if n > most {
		return nil, fmt.Errorf("a hello of %d bytes, more than %d", n, most)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

func lengthed(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

// hail is the dialer's side of the handshake on c with addr. Its error is a dialError.
func hail(c net.Conn, addr string, psk []byte, me Peer) (net.Conn, Peer, error) {
	var state *noise.HandshakeState
	first, mode := []byte(nil), byte(modePlain)
	if psk != nil {
		var err error
		if state, err = noiseState(psk, true); err == nil {
			first, _, _, err = state.WriteMessage(nil, nil)
		}
		if err != nil {
			return nil, Peer{}, dialErrorf(ErrKey, "begin encryption with %s: %v", addr, err)
		}
		mode = modeNoise
	}
	out := preface(mode, first)
	if psk == nil { // nothing has to be awaited
		out = append(out, lengthed(me.hello())...)
	}
	if _, err := c.Write(out); err != nil {
		return nil, Peer{}, explainHail(addr, err)
	}
	answer, rest, err := readPreface(c, reasonBytes)
	if err != nil {
		return nil, Peer{}, explainHail(addr, err)
	}
	if answer != mode {
		return nil, Peer{}, refusal(addr, answer, rest, ErrKey)
	}
	if psk != nil {
		_, out, in, err := state.ReadMessage(nil, rest)
		if err != nil {
			return nil, Peer{}, dialErrorf(ErrKey, "%s has another cluster key than this broker: "+
				"moldau.gossip.key must be the same on all brokers of a cluster", addr)
		}
		s := &sealed{Conn: c}
		s.in.cipher, s.out.cipher = in, out
		c = s
		if _, err := c.Write(lengthed(me.hello())); err != nil {
			return nil, Peer{}, explainHail(addr, err)
		}
	}
	peer, err := readWelcome(c, addr, me)
	return c, peer, err
}

// readWelcome reads the other end's hello, or why there is none.
func readWelcome(c net.Conn, addr string, me Peer) (Peer, error) {
	var ok [1]byte
	if _, err := io.ReadFull(c, ok[:]); err != nil {
		return Peer{}, explainHail(addr, err)
	}
	b, err := readLengthed(c, helloBytesMax)
	if err != nil {
		return Peer{}, explainHail(addr, err)
	}
	if ok[0] != 1 {
		return Peer{}, refusal(addr, modeRefused, b, ErrOtherCluster)
	}
	peer, err := readHello(b)
	if err != nil {
		return Peer{}, dialErrorf(ErrNotMoldau, "%s: bad hello: %v", addr, err)
	}
	if kind, why := unfit(me, peer); kind != nil {
		return Peer{}, dialErrorf(kind, "%s: %s", addr, why)
	}
	return peer, nil
}

// unfit says why two ends may not talk.
func unfit(me, peer Peer) (error, string) {
	switch {
	case peer.Process == me.Process:
		return ErrSelf, "this is the same process: a broker cannot join itself, name the cluster address of another one"
	case peer.ClusterID != "" && me.ClusterID != "" && peer.ClusterID != me.ClusterID:
		return ErrOtherCluster, fmt.Sprintf("the broker there is in cluster %s, this one is in cluster %s: "+
			"join a broker of the right cluster, or start with an empty data folder", peer.ClusterID, me.ClusterID)
	}
	return nil, ""
}

// refusal is the error of an end that said why it refuses; the first byte of its reason names the kind.
func refusal(addr string, mode byte, reason []byte, kind error) error {
	if mode != modeRefused || len(reason) == 0 {
		return dialErrorf(kind, "%s has a cluster key and this broker has none, or the other way round: "+
			"moldau.gossip.key must be the same on all brokers of a cluster", addr)
	}
	for _, k := range []struct {
		tag  byte
		kind error
	}{{'k', ErrKey}, {'c', ErrOtherCluster}, {'s', ErrSelf}} {
		if reason[0] == k.tag {
			kind = k.kind
		}
	}
	return dialErrorf(kind, "%s refuses this broker: %s", addr, printable(reason[1:]))
}

func reasonOf(kind error, text string) []byte {
	tag := "?"
	switch {
	case errors.Is(kind, ErrKey):
		tag = "k"
	case errors.Is(kind, ErrOtherCluster):
		tag = "c"
	case errors.Is(kind, ErrSelf):
		tag = "s"
	}
	return []byte((tag + text)[:min(len(text)+1, reasonBytes)])
}

// printable keeps what is harmless in a log and on a terminal.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return '.'
		}
		return r
	}, string(b))
}

// explainHail says what an error within the handshake means.
func explainHail(addr string, err error) error {
	var stranger *strangerError
	switch {
	case errors.As(err, &stranger):
		return dialErrorf(ErrNotMoldau, "%s is not a broker's cluster address: what answers there is %s; "+
			"name the --cluster-listen address of a broker", addr, describeStranger(stranger.began))
	case hangUp(err):
		return dialErrorf(errors.Join(ErrNotMoldau, err), "%s closed the connection without an answer: "+
			"it is not a broker's cluster address (a Kafka port does so), or its broker is just stopping", addr)
	}
	return explainDial(addr, err)
}

// welcome is the other side of the handshake. A refusal is told to the dialer and returned.
func welcome(c net.Conn, psk []byte, me Peer) (net.Conn, Peer, error) {
	mode, first, err := readPreface(c, noiseBytesMax)
	if err != nil {
		return nil, Peer{}, err
	}
	refuse := func(text string) error {
		_, _ = c.Write(preface(modeRefused, reasonOf(ErrKey, text))) // it may be gone; our own log says it too
		return fmt.Errorf("%w: %s", ErrKey, text)
	}
	switch {
	case mode != modePlain && mode != modeNoise:
		return nil, Peer{}, refuse(fmt.Sprintf("handshake mode %d is not known to this build", mode))
	case mode == modeNoise && psk == nil:
		return nil, Peer{}, refuse("the dialing broker has a cluster key and the dialed one has none: " +
			"set the same moldau.gossip.key on both")
	case mode == modePlain && psk != nil:
		return nil, Peer{}, refuse("this cluster has a key and the dialing broker has none: " +
			"start it with the cluster's moldau.gossip.key")
	}
	var second []byte
	sealing := c
	if mode == modeNoise {
		s, answer, err := seal(c, psk, first)
		if err != nil {
			return nil, Peer{}, refuse("the two brokers have different cluster keys: " +
				"moldau.gossip.key must be the same on all brokers of a cluster")
		}
		sealing, second = s, answer
	}
	if _, err := c.Write(preface(mode, second)); err != nil {
		return nil, Peer{}, err
	}
	return receive(sealing, me)
}

// seal answers the first message of the Noise handshake.
func seal(c net.Conn, psk, first []byte) (*sealed, []byte, error) {
	state, err := noiseState(psk, false)
	if err != nil {
		return nil, nil, err
	}
	if _, _, _, err := state.ReadMessage(nil, first); err != nil {
		return nil, nil, err
	}
	second, in, out, err := state.WriteMessage(nil, nil)
	if err != nil {
		return nil, nil, err
	}
	s := &sealed{Conn: c}
	s.in.cipher, s.out.cipher = in, out
	return s, second, nil
}

// receive reads the dialer's hello and answers it.
func receive(c net.Conn, me Peer) (net.Conn, Peer, error) {
	b, err := readLengthed(c, helloBytesMax)
	if err != nil {
		return nil, Peer{}, err
	}
	peer, err := readHello(b)
	if err != nil {
		return nil, Peer{}, fmt.Errorf("hello: %w", err)
	}
	if kind, why := unfit(peer, me); kind != nil {
		_, _ = c.Write(append([]byte{0}, lengthed(reasonOf(kind, why))...)) // as the dialer sees it
		_, why = unfit(me, peer)
		return nil, peer, fmt.Errorf("%w: %s", kind, why)
	}
	_, err = c.Write(append([]byte{1}, lengthed(me.hello())...))
	return c, peer, err
}
