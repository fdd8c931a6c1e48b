//go:build compat

package differential

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var protocolScripts = []script{
	{"api-versions", scriptApiVersions},
	{"api-versions-unsupported", scriptApiVersionsUnsupported},
	{"api-versions-misrouted", scriptMisrouted},
	{"hostile-frames", scriptHostileFrames},
	{"hostile-counts", scriptHostileCounts},
	{"hostile-streams", scriptHostileStreams},
	{"hostile-bodies", scriptHostileBodies},
	{"unknown-apis", scriptUnknownApis},
}

func apiVersions(v int16, name, version string) *kmsg.ApiVersionsRequest {
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = v, name, version
	return req
}

func scriptApiVersions(s *session) {
	s.each(18, func(v int16) {
		s.ask("plain", apiVersions(v, "compat", "1.0"))
	})
	for _, name := range []string{"", "a b", "-a", "a-", "a.b-c", "9", "ä", strings.Repeat("x", 300)} {
		s.ask("software name "+name[:min(9, len(name))], apiVersions(3, name, "1"))
		s.ask("software version "+name[:min(9, len(name))], apiVersions(4, "x", name))
	}
}

// header is a request header of version 1 or 2 with a size that is put right at the end.
func header(key, version int16, correlation int32, clientID *string, flexible bool, body []byte) []byte {
	b := make([]byte, 4)
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	if clientID == nil {
		b = append(b, 0xff, 0xff)
	} else {
		b = binary.BigEndian.AppendUint16(b, uint16(len(*clientID)))
		b = append(b, *clientID...)
	}
	if flexible {
		b = append(b, 0)
	}
	b = append(b, body...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

const (
	soon = 10 * time.Second // for what is answered or closed at once
	wait = time.Second      // for what nothing follows
)

func scriptApiVersionsUnsupported(s *session) {
	for _, v := range []int16{6, 7, 127, 32767, -1} {
		s.raw("version beyond the newest, no body", soon, header(18, v, 77, ptr("me"), true, nil))
		s.raw("version beyond the newest, strange body", soon, header(18, v, 78, ptr("me"), true, []byte{9, 9, 9, 9, 9}))
		s.raw("no tags in the header", soon, header(18, v, 79, ptr("me"), false, nil))
	}
	s.raw("null client id", soon, header(18, 6, 80, nil, true, nil))
}

func scriptHostileFrames(s *session) {
	good := header(18, 0, 1, ptr("me"), false, nil)
	size := func(n int32) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
	s.raw("size 0", soon, size(0))
	s.raw("size -1", soon, size(-1))
	s.raw("smallest size", soon, size(-1<<31))
	s.raw("size of the limit plus one", soon, size(100<<20+1))
	s.raw("largest size", soon, size(1<<31-1))
	s.raw("size 1", soon, append(size(1), 7))
	s.raw("size 7", soon, append(size(7), 0, 18, 0, 0, 0, 0, 0))
	s.raw("header without a client id", soon, append(size(8), 0, 18, 0, 0, 0, 0, 0, 5))
	s.raw("client id longer than the frame", soon, append(size(10), 0, 18, 0, 0, 0, 0, 0, 5, 0x7f, 0xff))
	s.opaque("client id of length -2", soon, append(size(10), 0, 18, 0, 0, 0, 0, 0, 5, 0xff, 0xfe))
	s.opaque("null client id", soon, header(18, 0, 5, nil, false, nil))
	s.opaque("empty client id", soon, header(18, 0, 5, ptr(""), false, nil))
	s.opaque("client id that is not UTF-8", soon, header(18, 0, 5, ptr("\xff\xfe\x00x"), false, nil))
	s.opaque("long client id", soon, header(18, 0, 5, ptr(strings.Repeat("c", 30_000)), false, nil))
	s.opaque("bytes after the body", soon, header(18, 0, 6, ptr("me"), false, []byte{1, 2, 3, 4, 5}))
	s.opaque("negative correlation id", soon, header(18, 0, -5, ptr("me"), false, nil))
	s.raw("half a size", wait, good[:2])
	s.raw("half a frame", wait, good[:9])
	s.raw("HTTP", soon, []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
	s.raw("TLS", soon, []byte{0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3})
	s.opaque("a frame byte by byte", soon, good)
	s.opaque("unknown tag in the request header", soon,
		taggedHeader(18, 3, 9, []byte{7, 3, 1, 2, 3}, []byte{2, 'x', 2, '1', 0}))
}

// scriptMisrouted names the broker that a client believes it has connected to (KIP-1242).
func scriptMisrouted(s *session) {
	resp, _ := s.quiet(metadataOf(9)).(*kmsg.MetadataResponse)
	if resp == nil || resp.ClusterID == nil {
		s.fail("no cluster id")
	}
	own, other := resp.ClusterID, ptr("another-cluster")
	for _, c := range []struct {
		label   string
		cluster *string
		node    int32
	}{
		{"right", own, 1}, {"wrong node", own, 2}, {"wrong cluster", other, 1}, {"both wrong", other, 9},
		{"no node", own, -1}, {"no cluster", nil, 1},
		{"neither", nil, -1}, {"empty cluster", ptr(""), 1}, {"negative node", own, -2},
	} {
		req := apiVersions(5, "compat", "1")
		req.ClusterID, req.NodeID = c.cluster, c.node
		s.ask(c.label, req)
	}
}

// scriptHostileCounts declares more than it sends, in every place where a short body can.
func scriptHostileCounts(s *session) {
	many := []byte{0xff, 0xff, 0xff, 0xff, 0x07} // 2^31 - 1
	for _, key := range requiredKeys {
		v := s.versions[key][1]
		req := kmsg.RequestForKey(key)
		req.SetVersion(v)
		if !req.IsFlexible() {
			continue
		}
		if p, ok := req.(*kmsg.ProduceRequest); ok {
			p.Acks = 1 // or a good one would get no answer
		}
		name := kmsg.NameForKey(key)
		s.opaque(name+": many tags in the header", soon, header(key, v, 1, ptr("me"), false, many))
		whole := req.AppendTo(nil) // ends with a count of tags
		s.opaque(name+": many tags in the body", soon,
			header(key, v, 1, ptr("me"), true, append(whole[:len(whole)-1:len(whole)-1], many...)))
		s.opaque(name+": a tag longer than the frame", soon,
			header(key, v, 1, ptr("me"), true, append(append(whole[:len(whole)-1:len(whole)-1], 1, 77), many...)))
		s.opaque(name+": tags out of order", soon,
			header(key, v, 1, ptr("me"), true, append(whole[:len(whole)-1:len(whole)-1], 2, 78, 0, 77, 0)))
	}
}

// scriptHostileStreams sends good and bad frames on one connection.
func scriptHostileStreams(s *session) {
	good := func(correlation int32) []byte { return header(18, 0, correlation, ptr("me"), false, nil) }
	join := func(frames ...[]byte) []byte { return slices.Concat(frames...) }
	for _, c := range []struct {
		label string
		bytes []byte
	}{
		{"good, then an unknown key", join(good(1), header(999, 0, 2, ptr("me"), false, nil), good(3))},
		{"good, then size 0", join(good(1), []byte{0, 0, 0, 0}, good(3))},
		{"good, then a huge size", join(good(1), []byte{0x7f, 0xff, 0xff, 0xff}, good(3))},
		{"good, then a body that does not parse", join(good(1), header(3, 9, 2, ptr("me"), true, []byte{9}), good(3))},
		{"good twice with the same correlation id", join(good(1), good(1))},
		{"forty at once", slices.Concat(slices.Repeat([][]byte{good(7)}, 40)...)},
	} {
		conn := s.dial()
		st := step{label: c.label, fields: map[string]string{}}
		if _, err := conn.Write(c.bytes); err != nil {
			s.fail("%s: %v", c.label, err)
		}
		st.fate = "silent"
		answers := 0
		for {
			if _, err := conn.ReadFrame(2 * wait); err != nil {
				st.fate = fateOf(err)
				break
			}
			answers++
		}
		conn.Close()
		st.fields["answers"] = strconv.Itoa(answers)
		s.steps = append(s.steps, st)
	}
}

// taggedHeader is a flexible header with one tag.
func taggedHeader(key, version int16, correlation int32, tag, body []byte) []byte {
	b := header(key, version, correlation, ptr("me"), false, append(append([]byte{1}, tag...), body...))
	return b
}

// scriptHostileBodies sends bodies that do not parse, at the first and the last version of every API that is required.
func scriptHostileBodies(s *session) {
	for _, key := range requiredKeys {
		r := s.versions[key]
		for _, v := range []int16{r[0], r[1]} {
			req := kmsg.RequestForKey(key)
			req.SetVersion(v)
			flexible := req.IsFlexible()
			if key == 18 && v < 3 {
				continue // has no body
			}
			label := kmsg.NameForKey(key)
			if v == r[0] {
				label += " oldest"
			} else {
				label += " newest"
			}
			s.opaque(label+": 0xff", soon, header(key, v, 1, ptr("me"), flexible,
				[]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}))
			s.opaque(label+": one byte", soon, header(key, v, 1, ptr("me"), flexible, []byte{5}))
			s.opaque(label+": large counts", soon, header(key, v, 1, ptr("me"), flexible,
				[]byte{0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f}))
		}
	}
}

func scriptUnknownApis(s *session) {
	for _, key := range []int16{4, 5, 6, 7, 52, 53, 54, 56, 58, 59, 62, 63, 67, 70, 82, 95, 1000, 32767, -1} {
		s.raw("key that no broker serves", soon, header(key, 0, 1, ptr("me"), false, []byte{0, 0, 0, 0}))
	}
	for _, key := range requiredKeys {
		if key == 18 {
			continue // has its own script
		}
		r := s.versions[key]
		s.raw(kmsg.NameForKey(key)+" above its newest version", soon,
			header(key, r[1]+1, 1, ptr("me"), true, []byte{0, 0, 0, 0}))
		s.raw(kmsg.NameForKey(key)+" below its oldest version", soon,
			header(key, r[0]-1, 1, ptr("me"), false, []byte{0, 0, 0, 0}))
	}
}
