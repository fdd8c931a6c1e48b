package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// header is a request header by hand. clientID is the length and the bytes; tags come behind it as they are.
func header(key, version int16, clientID, tags string) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = append(b, 0, 0, 0, 7)
	b = append(b, clientID...)
	return append(b, tags...)
}

func TestC4_ClientIDsOfBothHeaders(t *testing.T) {
	id := func(s string) *string { return &s }
	for _, c := range []struct {
		name      string
		frame     []byte
		want      *string
		wantError bool
	}{
		{"v1 named", header(12, 3, "\x00\x02ab", ""), id("ab"), false},
		{"v1 empty", header(12, 3, "\x00\x00", ""), id(""), false},
		{"v1 null", header(12, 3, "\xff\xff", ""), nil, false},
		{"v2 named", header(12, 4, "\x00\x02ab", "\x00"), id("ab"), false},
		{"v2 empty", header(12, 4, "\x00\x00", "\x00"), id(""), false},
		{"v2 null", header(12, 4, "\xff\xff", "\x00"), nil, false},
		{"v2 with tags", header(12, 4, "\x00\x02ab", "\x02\x05\x01x\x07\x00"), id("ab"), false},
		{"v2 without tags", header(12, 4, "\x00\x02ab", ""), nil, true},
		{"v2 tags cut", header(12, 4, "\x00\x02ab", "\x01\x05\x09x"), nil, true},
		{"v1 cut", header(12, 3, "\x00\x05ab", ""), nil, true},
		{"v1 missing", header(12, 3, "", ""), nil, true},
	} {
		frame := c.frame
		if !c.wantError {
			frame = append(frame, "body"...)
		}
		h, body, err := ParseHeader(frame)
		if c.wantError {
			if !errors.Is(err, InvalidRequest) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil || string(body) != "body" || h.CorrelationID != 7 || h.Key != 12 {
			t.Errorf("%s: %+v %q %v", c.name, h, body, err)
			continue
		}
		if (h.ClientID == nil) != (c.want == nil) || c.want != nil && *h.ClientID != *c.want {
			t.Errorf("%s: client id %v, want %v", c.name, h.ClientID, c.want)
		}
	}
}

func TestHeadersThatKmsgWrites(t *testing.T) {
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID("client"))
	r := newRand(8)
	eachVersion(func(a API, v int16) {
		req := randomRequest(r, a, v, false)
		h, body, err := ParseHeader(f.AppendRequest(nil, req, -3)[4:])
		if err != nil {
			t.Fatal(err)
		}
		if h.Key != a.Key || h.Version != v || h.CorrelationID != -3 || *h.ClientID != "client" {
			t.Errorf("%s version %d: %+v", a.Name, v, h)
		}
		if !bytes.Equal(body, req.AppendTo(nil)) {
			t.Errorf("%s version %d: another body", a.Name, v)
		}
	})
}

func TestParsingHeadersOfOneClientAllocatesOnce(t *testing.T) {
	frame := header(12, 4, "\x00\x02ab", "\x00")
	var h Header
	if n := testing.AllocsPerRun(100, func() {
		if _, err := h.Parse(frame); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if _, err := h.Parse(header(12, 4, "\x00\x02cd", "\x00")); err != nil || *h.ClientID != "cd" {
		t.Errorf("another client id: %v %v", *h.ClientID, err)
	}
	if _, err := h.Parse(header(12, 4, "\xff\xff", "\x00")); err != nil || h.ClientID != nil {
		t.Errorf("no client id: %v %v", h.ClientID, err)
	}
}

func TestRule001_UnknownKeysAndVersions(t *testing.T) {
	for _, c := range []struct{ key, version int16 }{
		{-1, 0}, {4, 0}, {5, 0}, {6, 0}, {7, 0}, {52, 0}, {58, 0}, {63, 0}, {1000, 0}, {0, 2}, {0, 14}, {1, 3}, {12, -1}, {12, 5},
	} {
		h, _, err := ParseHeader(header(c.key, c.version, "\xff\xff", "\x00"))
		var u *UnsupportedError
		if !errors.As(err, &u) || !errors.Is(err, UnsupportedVersion) || h.CorrelationID != 7 {
			t.Errorf("key %d version %d: %+v %v", c.key, c.version, h, err)
		}
	}
	for n := range 8 {
		if _, _, err := ParseHeader(make([]byte, n)); !errors.Is(err, InvalidRequest) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// TestRule002: versions above the known ones are answered at version 0, whatever follows the correlation id.
func TestRule002_C1_C2_ApiVersionsOfAnUnknownVersion(t *testing.T) {
	for _, version := range []int16{-1, 6, 7, 127, 32767} {
		for _, rest := range []string{"", "\xff\xff\x00", "\x00\x02ab\x00junk", "\x7f\xffshort"} {
			h, body, err := ParseHeader(header(18, version, rest, ""))
			if err != nil || h.Key != 18 || h.Version != version || h.CorrelationID != 7 || body != nil {
				t.Fatalf("version %d: %+v %x %v", version, h, body, err)
			}
			got := EncodeUnsupportedApiVersions(h).Head
			want := []byte{
				0, 0, 0, 16, // size
				0, 0, 0, 7, // correlation id; no tagged fields
				0, 35,
				0, 0, 0, 1, 0, 18, 0, 0, 0, 5, // one row: key 18, 0 to 5
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%x, want %x", got, want)
			}
		}
	}
}

func TestRule003_C1_OnlyApiVersionsHasAResponseHeaderWithoutTags(t *testing.T) {
	eachVersion(func(a API, v int16) {
		resp := a.New().ResponseKind()
		r := EncodeResponse(Header{Key: a.Key, Version: v, CorrelationID: 9}, resp)
		if got := binary.BigEndian.Uint32(r.Head); int(got) != len(r.Head)-4 || r.Size() != int64(len(r.Head)) {
			t.Errorf("%s version %d: size %d of %d", a.Name, v, got, len(r.Head))
		}
		body := r.Head[responseHeaderBytes:]
		if a.Flexible(v) && a.Key != apiVersionsKey {
			if body[0] != 0 {
				t.Errorf("%s version %d: no tagged fields in the header", a.Name, v)
			}
			body = body[1:]
		}
		resp.SetVersion(v)
		if !bytes.Equal(body, resp.AppendTo(nil)) {
			t.Errorf("%s version %d: %x", a.Name, v, body)
		}
	})
}

// TestC14: a section of tagged fields has at most 1024 of them, even where the bytes for more are there.
func TestC14_SectionsOfTaggedFieldsAreBounded(t *testing.T) {
	tags := func(n int) string {
		b := binary.AppendUvarint(nil, uint64(n))
		for i := range n {
			b = binary.AppendUvarint(b, uint64(100+i))
			b = append(b, 0)
		}
		return string(b)
	}
	versions, _ := Lookup(apiVersionsKey)
	for n, want := range map[int]Code{tagsMax: None, tagsMax + 1: InvalidRequest} {
		_, _, err := ParseHeader(header(12, 4, "\xff\xff", tags(n)))
		if got := CodeOf(err); got != want {
			t.Errorf("header with %d tagged fields: %v", n, err)
		}
		// Few enough for the budget as a map: the bound is of the walk, so it is asked of the walk.
		_, err = skim(versions, 3, []byte("\x02a\x02a"+tags(min(n, 300))))
		if err != nil {
			t.Errorf("body with %d tagged fields: %v", min(n, 300), err)
		}
		r := reader{b: []byte(tags(n))}
		if r.skipTags(); CodeOf(r.err) != want {
			t.Errorf("section of %d tagged fields: %v", n, r.err)
		}
	}
}
