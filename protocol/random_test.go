package protocol

import (
	"math/rand/v2"
	"reflect"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// filler fills kmsg values with random content.
type filler struct {
	r       *rand.Rand
	tags    bool // unknown tagged fields too
	maxLen  int  // of arrays
	version int16
}

func (f filler) string() string {
	const letters = "abcdefghijklmnopqrstuvwxyz-._é"
	s := make([]rune, f.r.IntN(12))
	for i := range s {
		s[i] = rune(letters[f.r.IntN(27)])
	}
	return string(s)
}

func (f filler) bytes() []byte {
	b := make([]byte, f.r.IntN(40))
	for i := range b {
		b[i] = byte(f.r.Uint32())
	}
	return b
}

func (f filler) fill(v reflect.Value) {
	if t, ok := v.Addr().Interface().(*kmsg.Tags); ok {
		if f.tags {
			for range f.r.IntN(3) {
				t.Set(100+f.r.Uint32N(1<<20), f.bytes())
			}
		}
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(f.r.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.r.Uint64()) >> f.r.IntN(64) >> (64 - v.Type().Bits()))
	case reflect.Float64:
		v.SetFloat(f.r.NormFloat64())
	case reflect.String:
		v.SetString(f.string())
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(f.r.Uint32N(256)))
		}
	case reflect.Pointer:
		if f.r.IntN(4) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			f.fill(v.Elem())
		}
	case reflect.Slice:
		switch {
		case f.r.IntN(8) == 0:
			v.SetZero()
		case v.Type().Elem().Kind() == reflect.Uint8:
			v.SetBytes(f.bytes())
		default:
			n := f.r.IntN(f.maxLen + 1)
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				f.fill(v.Index(i))
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "Version" {
				f.fill(v.Field(i))
			}
		}
	default:
		panic("a kind that kmsg did not have: " + v.Type().String())
	}
}

// randomRequest is a random request of an API at a version.
func randomRequest(r *rand.Rand, a API, version int16, tags bool) kmsg.Request {
	req := a.New()
	filler{r: r, tags: tags, maxLen: 4}.fill(reflect.ValueOf(req).Elem())
	req.SetVersion(version)
	return req
}

// eachVersion calls f for every version of every API.
func eachVersion(f func(a API, version int16)) {
	for _, a := range APIs() {
		for v := a.Min; v <= a.Max; v++ {
			f(a, v)
		}
	}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
