package protocol

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// apiVersionsKey is the one API whose versions a client cannot know yet, so that its headers follow rules of their own.
const apiVersionsKey = 18

// Header is what stands before the body of every request.
type Header struct {
	Key, Version  int16
	CorrelationID int32   // the answer carries it back
	ClientID      *string // nil where the client sent null
}

// UnsupportedError says that this broker does not answer a request of this key and version. Kafka closes the
// connection on it. It wraps the code UnsupportedVersion.
type UnsupportedError struct{ Key, Version int16 }

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("API key %d version %d is not supported", e.Key, e.Version)
}

func (e *UnsupportedError) Unwrap() error { return UnsupportedVersion }

var errShortHeader = fmt.Errorf("request header is cut short: %w", InvalidRequest)

// ParseHeader reads the header of a frame, which is given without its size, and returns the body behind it.
//
// Both header versions are known: 1 and, for flexible requests, 2, which adds tagged fields; the client id is a classic
// nullable string in both (KIP-482). An unknown key or an unsupported version is an *UnsupportedError and comes with a
// header that is filled as far as the correlation id. ApiVersions is the exception: an unsupported version of it is no
// error, as it must be answered (see EncodeUnsupportedApiVersions); body is then nil, for its layout is unknown.
func ParseHeader(frame []byte) (h Header, body []byte, err error) {
	body, err = h.Parse(frame)
	return h, body, err
}

// Parse is ParseHeader into h. When the frame's client id equals the one that h has already, h keeps the old string, so
// that a connection which parses into one header allocates nothing.
func (h *Header) Parse(frame []byte) (body []byte, err error) {
	last := h.ClientID
	*h = Header{}
	if len(frame) < 8 {
		return nil, errShortHeader
	}
	h.Key = int16(binary.BigEndian.Uint16(frame))
	h.Version = int16(binary.BigEndian.Uint16(frame[2:]))
	h.CorrelationID = int32(binary.BigEndian.Uint32(frame[4:]))
	api, known := Lookup(h.Key)
	supported := known && api.Supports(h.Version)
	if !supported && h.Key != apiVersionsKey {
		return nil, &UnsupportedError{h.Key, h.Version}
	}

	r := reader{b: frame, at: 8}
	id, isNull := r.nullableString(false)
	if !isNull && r.err == nil {
		h.setClientID(id, last)
	}
	if !supported {
		return nil, nil // whatever follows, the answer is the same
	}
	if api.Flexible(h.Version) {
		r.skipTags()
	}
	if r.err != nil {
		return nil, fmt.Errorf("request header of %s version %d: %w", api.Name, h.Version, r.err)
	}
	return frame[r.at:], nil
}

func (h *Header) setClientID(id []byte, last *string) {
	if last == nil || *last != string(id) {
		s := string(id)
		last = &s
	}
	h.ClientID = last
}

// responseHeaderBytes is what stands before the body of an answer: its size and correlation id.
const responseHeaderBytes = 8

// appendResponseHeader appends room for the size, and the header. Flexible answers have tagged fields in it, but never
// ApiVersions: its client may not know yet that there is such a thing (KIP-511).
func appendResponseHeader(dst []byte, h Header, flexible bool) []byte {
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.CorrelationID))
	if flexible && h.Key != apiVersionsKey {
		dst = append(dst, 0)
	}
	return dst
}

// EncodeResponse encodes an answer: size, header, and the body at the version of the request.
func EncodeResponse(h Header, resp kmsg.Response) *Response {
	resp.SetVersion(h.Version)
	head := make([]byte, 0, 256)
	head = appendResponseHeader(head, h, resp.IsFlexible())
	head = resp.AppendTo(head)
	return finish(&Response{Head: head})
}

// EncodeUnsupportedApiVersions answers an ApiVersions request of a version that this broker does not know: at version 0,
// with error 35 and the row of ApiVersions alone, from which the client picks a version to ask again with (KIP-511).
func EncodeUnsupportedApiVersions(h Header) *Response {
	api, _ := Lookup(apiVersionsKey)
	h.Version = 0
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = int16(UnsupportedVersion)
	row := kmsg.NewApiVersionsResponseApiKey()
	row.ApiKey, row.MinVersion, row.MaxVersion = api.Key, api.AdvertisedMin, api.Max
	resp.ApiKeys = append(resp.ApiKeys, row)
	return EncodeResponse(h, resp)
}

// finish writes the size of r into its head.
func finish(r *Response) *Response {
	binary.BigEndian.PutUint32(r.Head, uint32(r.Size()-4))
	return r
}

// DecodeBody decodes the body of a request. The message does not refer to body, which may be reused. Bytes behind a
// valid body are ignored, as Kafka does.
//
// It allocates at most 8 times the bytes of the body and 64 KiB; a body that would take more is refused like one that is
// not valid. Such errors wrap InvalidRequest, and Kafka closes the connection on them.
func DecodeBody(a API, version int16, body []byte) (kmsg.Request, error) {
	if !a.Supports(version) {
		return nil, &UnsupportedError{a.Key, version}
	}
	c, err := skim(a, version, body)
	if err != nil {
		return nil, err
	}
	body = body[:c.bytes]
	if c.aliases {
		body = slices.Clone(body)
	}
	req := a.New()
	req.SetVersion(version)
	if err := req.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("%s version %d: %w", a.Name, version, Errorf(InvalidRequest, "%v", err))
	}
	return req, nil
}
