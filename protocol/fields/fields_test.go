package fields

import "testing"

func TestBothFormsOfEachField(t *testing.T) {
	classic := NewReader([]byte("\x00\x02ab\xff\xff\x00\x00\x00\x01x\x00\x00\x00\x01\x00\x00\x00\x07\xff\xff\xff\xff"), false)
	if s := classic.String(); s != "ab" {
		t.Errorf("string %q", s)
	}
	if _, isNull := classic.Text(); !isNull {
		t.Error("a null string is not null")
	}
	if b := classic.Bytes(); string(b) != "x" {
		t.Errorf("bytes %q", b)
	}
	if ns := classic.Int32s(); len(ns) != 1 || ns[0] != 7 {
		t.Errorf("array %v", ns)
	}
	if b := classic.Bytes(); b != nil || classic.Bad() || classic.Left() != 0 {
		t.Errorf("null bytes %q, bad %v, %d left", b, classic.Bad(), classic.Left())
	}

	flexible := NewReader([]byte("\x03ab\x00\x02x\x02\x00\x00\x00\x07\x01\x05\x02hi"), true)
	if s := flexible.String(); s != "ab" {
		t.Errorf("string %q", s)
	}
	if _, isNull := flexible.Text(); !isNull {
		t.Error("a null string is not null")
	}
	if b := flexible.Bytes(); string(b) != "x" {
		t.Errorf("bytes %q", b)
	}
	if ns := flexible.Int32s(); len(ns) != 1 || ns[0] != 7 {
		t.Errorf("array %v", ns)
	}
	tagged := ""
	flexible.EndStruct(func(tag uint64, value []byte) {
		if tag == 5 {
			tagged = string(value)
		}
	})
	if tagged != "hi" || flexible.Bad() || flexible.Left() != 0 {
		t.Errorf("tagged field %q, bad %v, %d left", tagged, flexible.Bad(), flexible.Left())
	}
}

// FuzzReader reads hostile bytes as everything, in an order that they choose.
func FuzzReader(f *testing.F) {
	f.Add([]byte("\x03ab\x00\x02x"), []byte{0, 1, 2}, true)
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), []byte{0, 3, 4, 5, 6}, true)
	f.Fuzz(func(t *testing.T, b, order []byte, flexible bool) {
		r := NewReader(b, flexible)
		reads := []func(){
			func() { _ = r.String() }, func() { r.Bytes() }, func() { r.Int32s() }, func() { r.Count() }, func() { r.Uvarint() },
			func() { r.EndStruct(nil) }, func() { r.UUID() }, func() { r.Int64() }, func() { r.Int8() },
		}
		for _, o := range order {
			before := r.Left()
			reads[int(o)%len(reads)]()
			if r.Left() > before {
				t.Fatal("there is more left than before")
			}
		}
	})
}
