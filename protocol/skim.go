package protocol

import "fmt"

//go:generate go run ../internal/skimgen skim_table.go

// kmsg's decoder trusts the numbers in a body: it loops as often as a section of tagged fields says, and makes arrays of
// structs for elements of one byte. So a body is walked here first, by a table of where its fields lie, without
// allocating anything. The walk refuses what cannot be right and adds up what decoding would allocate.
//
// The limit is eight times the bytes of the body and 64 KiB. Honest requests stay below it however large they are: ten
// thousand topics with names of nine letters take six times their bytes, partitions less. What it refuses are bodies of
// many thousand nulls, of empty or one-letter names, or of unknown tagged fields, which cost a map each.
const (
	decodeFactor     = 8
	decodeAllowance  = 64 << 10
	decodeBytesOnTop = 1 << 10 // the message itself
)

// skimNever is above every version.
const skimNever = neverFlexible

type skimKind uint8

const (
	skimFixed       skimKind = iota // bytes long, whatever they mean
	skimString                      // classic: int16 length; compact: varint
	skimBytes                       // classic: int32 length; compact: varint
	skimArray                       // of elem
	skimFixedArray                  // of values that are bytes long
	skimStringArray                 // of strings
	skimOptional                    // a byte that is -1 for null, then elem
	skimInline                      // elem, as the value of a tagged field
)

// skimField is one field of a struct, or several fixed ones that follow each other in the same versions.
type skimField struct {
	kind     skimKind
	from, to int16 // versions that have it
	null     int16 // the first version that may send null
	bytes    int   // on the wire
	size     int   // in memory
	elem     *skimStruct
}

// skimStruct is a list of fields, with tagged fields behind them in flexible versions.
type skimStruct struct {
	fields []skimField
	tags   []skimTag // the known ones
}

type skimTag struct {
	key   uint32
	field skimField
}

// cost is what decoding takes.
type cost struct {
	bytes   int  // of the body, without what is left over behind it
	memory  int  // an upper bound of what DecodeBody allocates
	aliases bool // the message would refer to the body
}

// skimmer walks one body.
type skimmer struct {
	reader
	version  int16
	flexible bool
	memory   int
	limit    int
	aliases  bool
}

// skim walks a body. An error says that the body is not valid or would cost too much.
func skim(a API, version int16, body []byte) (cost, error) {
	s := skimmer{
		reader: reader{b: body}, version: version, flexible: a.Flexible(version),
		memory: decodeBytesOnTop, limit: decodeFactor*len(body) + decodeAllowance,
	}
	s.walk(skimTable[a.Key])
	bytes := s.at
	if s.aliases {
		s.charge(bytes) // for the copy that the message refers to instead
	}
	if s.err != nil {
		return cost{}, fmt.Errorf("%s version %d: %w", a.Name, version, s.err)
	}
	return cost{bytes: bytes, memory: s.memory, aliases: s.aliases}, nil
}

// charge adds what an allocation of n bytes takes after the allocator has rounded it up.
func (s *skimmer) charge(n int) {
	switch {
	case n <= 8:
		n = 8
	case n <= 256:
		n = (n + 15) &^ 15
	case n <= 32<<10:
		n += n / 8
	default:
		n = (n + 8<<10 - 1) &^ (8<<10 - 1)
	}
	s.memory += n
	if s.memory > s.limit {
		s.fail("decoding would take more than %d bytes of memory", s.limit)
	}
}

func (s *skimmer) walk(t *skimStruct) {
	for i := range t.fields {
		f := &t.fields[i]
		if s.version < f.from || s.version > f.to {
			continue
		}
		if f.kind == skimFixed {
			s.span(f.bytes)
		} else {
			s.field(f)
		}
		if s.err != nil {
			return
		}
	}
	if s.flexible {
		s.tagged(t)
	}
}

func (s *skimmer) field(f *skimField) {
	switch f.kind {
	case skimFixed:
		s.span(f.bytes)
	case skimString:
		s.string(f)
	case skimBytes:
		n := s.lengthOf(f, 1)
		s.span(n)
		s.aliases = s.aliases || n > 0
	case skimArray:
		for n := s.lengthOf(f, 1); n > 0 && s.err == nil; n-- {
			s.walk(f.elem)
		}
	case skimFixedArray:
		s.span(s.lengthOf(f, f.bytes) * f.bytes)
	case skimStringArray:
		inner := skimField{kind: skimString, null: skimNever}
		for n := s.lengthOf(f, 1); n > 0 && s.err == nil; n-- {
			s.string(&inner)
		}
	case skimOptional:
		if s.int8() != -1 {
			s.charge(f.size)
			s.walk(f.elem)
		}
	case skimInline:
		s.walk(f.elem)
	}
}

func (s *skimmer) string(f *skimField) {
	v, isNull := s.nullableString(s.flexible)
	if isNull {
		if s.version < f.null {
			s.fail("a string is null")
		}
		return
	}
	if f.null != skimNever {
		s.charge(stringHeaderBytes) // kmsg points to strings that may be null
	}
	if len(v) > 0 {
		s.charge(len(v))
	}
}

const stringHeaderBytes = 16

// lengthOf reads the length of an array or of bytes and charges what kmsg makes for it.
func (s *skimmer) lengthOf(f *skimField, elemBytes int) int {
	n := s.array(s.flexible, elemBytes)
	if n < 0 {
		if s.version < f.null {
			s.fail("an array or bytes that may not be null are null")
		}
		return 0
	}
	if n > 0 && f.size > 0 {
		s.charge(n * f.size)
	}
	return n
}

// What kmsg's map of unknown tagged fields takes: up to eight fields lie in one group, then the map grows by doubling.
const (
	tagMapBytes   = 352
	tagGroupSlots = 8
	tagBytes      = 176
)

func (s *skimmer) tagged(t *skimStruct) {
	unknown := 0
	for n := s.tags(); n > 0 && s.err == nil; n-- {
		key, value := s.tag()
		if f := t.tag(key); f != nil {
			s.inTag(f, key, value)
		} else {
			unknown++
		}
	}
	if unknown == 0 {
		return
	}
	s.aliases = true
	s.charge(tagMapBytes)
	if unknown > tagGroupSlots {
		s.charge(unknown * tagBytes)
	}
}

func (t *skimStruct) tag(key uint32) *skimField {
	for i := range t.tags {
		if t.tags[i].key == key {
			return &t.tags[i].field
		}
	}
	return nil
}

// inTag walks the value of a known tagged field.
func (s *skimmer) inTag(f *skimField, key uint32, value []byte) {
	outer := s.reader
	s.reader = reader{b: value, err: outer.err}
	s.field(f)
	inner := s.reader
	s.reader = outer
	s.inside(key, inner)
}
