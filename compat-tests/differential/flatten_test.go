//go:build compat

package differential

import (
	"fmt"
	"hash/crc32"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// placeholders gives ids of one run names that are the same in every run: the first id seen of a kind is #1.
type placeholders struct{ seen map[string]string }

func (p *placeholders) of(kind, id string) string {
	key := kind + "\x00" + id
	if n, ok := p.seen[key]; ok {
		return n
	}
	count := 1
	for k := range p.seen {
		if strings.HasPrefix(k, kind+"\x00") {
			count++
		}
	}
	p.seen[key] = fmt.Sprintf("<%s#%d>", kind, count)
	return p.seen[key]
}

func (s *session) flattenOrNil(resp kmsg.Response) map[string]string {
	if resp == nil {
		return nil
	}
	return s.flatten(resp)
}

// flatten turns an answer into one line a field, with the masks of masks_test.go applied.
func (s *session) flatten(resp kmsg.Response) map[string]string {
	out := map[string]string{}
	name := strings.TrimSuffix(reflect.TypeOf(resp).Elem().Name(), "Response")
	s.walk(out, name, "", reflect.ValueOf(resp).Elem())
	return out
}

// walk flattens v, which stands at path of API api.
func (s *session) walk(out map[string]string, api, path string, v reflect.Value) {
	if text, ok := s.masked(api, path, v); ok {
		out[path] = text
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		if tags, ok := v.Interface().(kmsg.Tags); ok {
			if tags.Len() > 0 {
				out[path] = fmt.Sprintf("%d unknown tags", tags.Len())
			}
			return
		}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.IsExported() && f.Name != "Version" {
				s.walk(out, api, join(path, f.Name), v.Field(i))
			}
		}
	case reflect.Slice:
		s.walkSlice(out, api, path, v)
	case reflect.Pointer:
		if v.IsNil() {
			out[path] = "null"
			return
		}
		s.walk(out, api, path, v.Elem())
	case reflect.String:
		out[path] = strconv.Quote(s.mask(v.String()))
	case reflect.Array:
		out[path] = s.id(v)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		out[path] = s.number(path, v.Int())
	default:
		out[path] = fmt.Sprint(v.Interface())
	}
}

func (s *session) walkSlice(out map[string]string, api, path string, v reflect.Value) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		switch {
		case v.IsNil():
			out[path] = "null"
		case strings.HasSuffix(path, "RecordBatches"):
			for i, b := range s.batches(v.Bytes()) {
				out[fmt.Sprintf("%s[%d]", path, i)] = b
			}
			out[path] = fmt.Sprintf("%d bytes", v.Len())
		default:
			out[path] = fmt.Sprintf("bytes %q", s.mask(string(v.Bytes())))
		}
		return
	}
	if v.Len() == 0 {
		// kmsg keeps null apart from empty where the schema allows null.
		out[path] = "empty"
		if v.IsNil() {
			out[path] = "none"
		}
		return
	}
	keys := s.keysOf(v)
	order := make([]int, v.Len())
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(keys[a], keys[b]) })
	for _, i := range order {
		s.walk(out, api, fmt.Sprintf("%s[%s]", path, keys[i]), v.Index(i))
	}
}

// keyFields name the elements of an array: brokers are free in the order of their answer.
var keyFields = []string{"ApiKey", "ResourceName", "Name", "ConfigName", "Topic", "Group", "Partition", "NodeID",
	"MemberID", "Dir", "TopicID", "ProducerID"}

// keysOf names the elements of an array by what they are about, or by their places when they have no key. Elements with
// the same key are numbered, in the order of what they say.
func (s *session) keysOf(v reflect.Value) []string {
	keys := make([]string, v.Len())
	for i := range keys {
		keys[i] = fmt.Sprintf("%03d", i)
	}
	field := keyField(v.Type().Elem())
	if field == "" {
		return keys
	}
	said := map[string][]string{} // what the elements of one key say
	flat := make([]string, v.Len())
	for i := range keys {
		f := v.Index(i).FieldByName(field)
		if f.Kind() == reflect.Pointer && f.IsNil() {
			// A topic that was asked for by its id has no name.
			f = v.Index(i).FieldByName("TopicID")
		} else if f.Kind() == reflect.Pointer {
			f = f.Elem()
		}
		switch {
		case !f.IsValid():
			keys[i] = "null"
		case f.Kind() == reflect.Array:
			keys[i] = s.id(f)
		case f.Kind() == reflect.String && f.Len() == 0 && v.Index(i).FieldByName("TopicID").IsValid():
			keys[i] = s.id(v.Index(i).FieldByName("TopicID")) // of a version that has no names
		case f.Kind() == reflect.String:
			keys[i] = strconv.Quote(s.mask(f.String()))
		default:
			keys[i] = fmt.Sprint(f.Interface())
		}
		fields := map[string]string{}
		s.walk(fields, "", "", v.Index(i))
		flat[i] = strings.Join(sorted(fields), "\n")
		said[keys[i]] = append(said[keys[i]], flat[i])
	}
	for _, texts := range said {
		slices.Sort(texts)
	}
	taken := map[string]int{}
	for i, k := range keys {
		if len(said[k]) > 1 {
			n := slices.Index(said[k], flat[i])
			keys[i] = fmt.Sprintf("%s#%d", k, n+taken[k+flat[i]])
			taken[k+flat[i]]++
		}
	}
	return keys
}

func keyField(t reflect.Type) string {
	if t.Kind() != reflect.Struct {
		return ""
	}
	for _, name := range keyFields {
		if _, ok := t.FieldByName(name); ok {
			return name
		}
	}
	return ""
}

func join(path, field string) string {
	if path == "" {
		return field
	}
	return path + "." + field
}

// id names a 16-byte id; what the all-zero one says is kept.
func (s *session) id(v reflect.Value) string {
	if v.IsZero() {
		return "zero id"
	}
	return s.names.of("id", fmt.Sprintf("%x", v.Interface()))
}

// number prints an integer; times of this run are clocks, error codes have names.
func (s *session) number(path string, n int64) string {
	if strings.HasSuffix(path, "ErrorCode") && n != 0 {
		if err := kerr.TypedErrorForCode(int16(n)); err != nil {
			return fmt.Sprintf("%d %s", n, err.Message)
		}
	}
	if t := time.UnixMilli(n); t.After(s.began.Add(-time.Hour)) && t.Before(s.began.Add(24*time.Hour)) {
		return "<clock>"
	}
	return strconv.FormatInt(n, 10)
}

var uuids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// mask takes out of a text what belongs to this run.
func (s *session) mask(text string) string {
	for i, dir := range s.broker.Dirs() {
		text = strings.ReplaceAll(text, dir, "<data"+strings.Repeat("+", i)+">")
	}
	text = strings.ReplaceAll(text, s.broker.Addr, "<address>")
	return uuids.ReplaceAllString(text, "<uuid>")
}

// batches describes the record batches of a Fetch answer. What follows the last whole batch is named by its length.
func (s *session) batches(b []byte) []string {
	var out []string
	for len(b) > 0 {
		if len(b) < 61 {
			return append(out, fmt.Sprintf("fragment of %d bytes", len(b)))
		}
		var h kmsg.RecordBatch
		size := 12 + int(int32(uint32(b[8])<<24|uint32(b[9])<<16|uint32(b[10])<<8|uint32(b[11])))
		if size < 61 || size > len(b) {
			return append(out, fmt.Sprintf("fragment of %d bytes of a batch of %d", len(b), size))
		}
		if err := h.ReadFrom(b[:size]); err != nil {
			return append(out, "unreadable: "+err.Error())
		}
		if h.Attributes&deleteHorizon != 0 { // times of records are told from a time of this run
			lines, _ := s.describeBatches(b[:size])
			out, b = append(out, lines...), b[size:]
			continue
		}
		crc := "good crc"
		if crc32.Checksum(b[21:size], crc32.MakeTable(crc32.Castagnoli)) != uint32(h.CRC) {
			crc = "BAD CRC"
		}
		pid := strconv.FormatInt(h.ProducerID, 10)
		if isGiven(h.ProducerID) {
			pid = s.names.of("producer", pid)
		}
		out = append(out,
			fmt.Sprintf("base %d epoch %d magic %d attributes %#x last %d first time %s max time %s "+
				"producer %s/%d/%d count %d %s records %x",
				h.FirstOffset, h.PartitionLeaderEpoch, h.Magic, h.Attributes, h.LastOffsetDelta, s.number("", h.FirstTimestamp),
				s.number("", h.MaxTimestamp), pid, h.ProducerEpoch, h.FirstSequence, h.NumRecords, crc, h.Records))
		b = b[size:]
	}
	return out
}

// deleteHorizon is the attribute of a batch with tombstones that were cleaned once.
const deleteHorizon = 0x40

// sorted is one line a field, in the order of the paths.
func sorted(fields map[string]string) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		out = append(out, k+" = "+fields[k])
	}
	return out
}
