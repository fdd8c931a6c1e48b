package protocol

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func FuzzHeader(f *testing.F) {
	f.Add(header(12, 3, "\x00\x02ab", ""))
	f.Add(header(12, 4, "\xff\xff", "\x00body"))
	f.Add(header(18, 127, "\x00\x02ab", "\x00"))
	f.Add(header(0, 9, "\x7f\xff", "\xff\xff\xff\xff\x0f"))
	f.Add(header(1, 17, "\x80\x00", "\x80\x80\x80\x80\x80\x80"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, body, err := ParseHeader(frame)
		if err != nil {
			var u *UnsupportedError
			if !errors.Is(err, InvalidRequest) && !errors.As(err, &u) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if !bytes.HasSuffix(frame, body) {
			t.Fatal("the body is not the end of the frame")
		}
		again := Header{ClientID: h.ClientID}
		if _, err := again.Parse(frame); err != nil || !reflect.DeepEqual(again, h) {
			t.Fatalf("read again: %+v, %+v, %v", h, again, err)
		}
	})
}

// seedBodies are honest and hostile bodies of every API and version.
func seedBodies(f *testing.F, add func(api, version byte, body []byte)) {
	r := newRand(9)
	for i, a := range APIs() {
		for v := a.Min; v <= a.Max; v++ {
			add(byte(i), byte(v-a.Min), honest(randomRequest(r, a, v, true)).AppendTo(nil))
		}
		add(byte(i), byte(a.Max-a.Min), []byte{0xff, 0xff, 0xff, 0xff, 0x0f})
		add(byte(i), 0, []byte{0x7f, 0xff, 0xff, 0xff})
	}
	for name, body := range expensiveBodies() {
		a, v := byName(f, name)
		i := slices.IndexFunc(APIs(), func(b API) bool { return a.Key == b.Key })
		add(byte(i), byte(v-a.Min), body[:min(len(body), 2000)])
	}
}

// FuzzBody reads the body of any request. Whatever the skimmer lets pass must decode within the budget, and decoding what
// the decoded message encodes to must give the same message.
func FuzzBody(f *testing.F) {
	seedBodies(f, func(api, version byte, body []byte) { f.Add(api, version, body) })
	f.Fuzz(func(t *testing.T, api, version byte, body []byte) {
		a := APIs()[int(api)%len(APIs())]
		v := a.Min + int16(version)%(a.Max-a.Min+1)
		var req kmsg.Request
		var err error
		got := allocated(func() { req, err = DecodeBody(a, v, body) })
		if got > limitOf(body)+16<<10 { // the fuzzer itself allocates beside us
			t.Fatalf("%s version %d: %d bytes took %d (%v)", a.Name, v, len(body), got, err)
		}
		if err != nil {
			if !errors.Is(err, InvalidRequest) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		encoded := req.AppendTo(nil)
		again, err := DecodeBody(a, v, encoded)
		if err != nil {
			t.Fatalf("%s version %d: its own encoding does not decode: %v\n%x\n%x", a.Name, v, err, body, encoded)
		}
		if twice := again.AppendTo(nil); !bytes.Equal(encoded, twice) {
			t.Fatalf("%s version %d: not a fixpoint\n%x\n%x", a.Name, v, encoded, twice)
		}
	})
}

// FuzzProduce compares the walk in place with kmsg.
func FuzzProduce(f *testing.F) {
	seedBodies(f, func(api, version byte, body []byte) {
		if APIs()[api].Key == 0 {
			f.Add(version, body)
		}
	})
	f.Fuzz(func(t *testing.T, version byte, body []byte) {
		v := produceAPI.Min + int16(version)%(produceAPI.Max-produceAPI.Min+1)
		got, err := ParseProduce(v, body)
		want, wantErr := DecodeBody(produceAPI, v, body)
		if err != nil {
			if wantErr == nil || !errors.Is(err, InvalidRequest) {
				t.Fatalf("refused: %v; kmsg says %v", err, wantErr)
			}
			return
		}
		if wantErr == nil { // what only costs kmsg too much is no fault in place
			sameProduce(t, got, want.(*kmsg.ProduceRequest))
		}
	})
}

// FuzzFetch compares the walk in place with kmsg.
func FuzzFetch(f *testing.F) {
	seedBodies(f, func(api, version byte, body []byte) {
		if APIs()[api].Key == 1 {
			f.Add(version, body)
		}
	})
	f.Fuzz(func(t *testing.T, version byte, body []byte) {
		v := fetchAPI.Min + int16(version)%(fetchAPI.Max-fetchAPI.Min+1)
		got, err := ParseFetch(v, body)
		want, wantErr := DecodeBody(fetchAPI, v, body)
		if err != nil {
			if wantErr == nil || !errors.Is(err, InvalidRequest) {
				t.Fatalf("refused: %v; kmsg says %v", err, wantErr)
			}
			return
		}
		if wantErr == nil {
			sameFetch(t, got, want.(*kmsg.FetchRequest))
		}
	})
}
