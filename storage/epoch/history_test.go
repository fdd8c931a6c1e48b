package epoch

import (
	"fmt"
	"testing"

	"moldau.io/moldau/protocol"
)

func history(t *testing.T, entries ...Entry) History {
	t.Helper()
	h := History{}
	for _, e := range entries {
		var changed bool
		if h, changed = h.Assign(e.Epoch, e.Start); !changed {
			t.Fatalf("%v was not taken", e)
		}
	}
	return h
}

func TestAssign(t *testing.T) {
	h := history(t, Entry{0, 0}, Entry{2, 10}, Entry{5, 20})
	f := func(e protocol.Epoch, start protocol.Offset, want string) {
		t.Helper()
		got, changed := h.Assign(e, start)
		if fmt.Sprint(got.Entries()) != want || changed != (fmt.Sprint(h.Entries()) != want) {
			t.Errorf("assign %d at %d: %v, %v; want %s", e, start, got.Entries(), changed, want)
		}
	}
	f(6, 25, "[{0 0} {2 10} {5 20} {6 25}]")
	f(6, 20, "[{0 0} {2 10} {6 20}]")
	f(6, 9, "[{0 0} {6 9}]")
	f(6, 0, "[{6 0}]")
	f(5, 30, "[{0 0} {2 10} {5 20}]")
	f(3, 30, "[{0 0} {2 10} {5 20}]")
	f(-1, 30, "[{0 0} {2 10} {5 20}]")
	f(6, -1, "[{0 0} {2 10} {5 20}]")
}

func TestRule077_EndOfAnEpoch(t *testing.T) {
	h := history(t, Entry{1, 5}, Entry{2, 10}, Entry{5, 20})
	f := func(asked, wantEpoch protocol.Epoch, wantEnd protocol.Offset) {
		t.Helper()
		if e, end := h.EndOf(asked, 33); e != wantEpoch || end != wantEnd {
			t.Errorf("end of %d: %d, %d; want %d, %d", asked, e, end, wantEpoch, wantEnd)
		}
	}
	f(-1, -1, -1)
	f(0, 0, 5)
	f(1, 1, 10)
	f(2, 2, 20)
	f(3, 2, 20)
	f(4, 2, 20)
	f(5, 5, 33)
	f(6, -1, -1)
	if e, end := (History{}).EndOf(0, 33); e != -1 || end != -1 {
		t.Errorf("end of 0 without any epoch: %d, %d", e, end)
	}
}

func TestTruncate(t *testing.T) {
	h := history(t, Entry{1, 5}, Entry{2, 10}, Entry{5, 20})
	end := func(at protocol.Offset, want string) {
		t.Helper()
		got, changed := h.TruncateEnd(at)
		if fmt.Sprint(got.Entries()) != want || changed != (fmt.Sprint(h.Entries()) != want) {
			t.Errorf("truncate the end to %d: %v, %v; want %s", at, got.Entries(), changed, want)
		}
	}
	end(21, "[{1 5} {2 10} {5 20}]")
	end(20, "[{1 5} {2 10}]")
	end(5, "[]")
	start := func(at protocol.Offset, want string) {
		t.Helper()
		got, changed := h.TruncateStart(at)
		if fmt.Sprint(got.Entries()) != want || changed != (fmt.Sprint(h.Entries()) != want) {
			t.Errorf("truncate the start to %d: %v, %v; want %s", at, got.Entries(), changed, want)
		}
	}
	start(5, "[{1 5} {2 10} {5 20}]")
	start(7, "[{1 7} {2 10} {5 20}]")
	start(10, "[{2 10} {5 20}]")
	start(99, "[{5 99}]")
	for o, want := range map[protocol.Offset]protocol.Epoch{4: -1, 5: 1, 9: 1, 10: 2, 500: 5} {
		if got := h.At(o); got != want {
			t.Errorf("epoch at %d: %d, want %d", o, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("0\n0\n"))
	f.Add([]byte("0\n2\n0 0\n3 15\n"))
	f.Add([]byte(""))
	f.Add([]byte("0\n1\n-1 5\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(h.Encode())
		if err != nil || fmt.Sprint(again) != fmt.Sprint(h) {
			t.Fatalf("%v, %v; want %v", again, err, h)
		}
		es := h.Entries()
		for i := 1; i < len(es); i++ {
			if es[i].Epoch <= es[i-1].Epoch || es[i].Start <= es[i-1].Start {
				t.Fatalf("%v does not rise", es)
			}
		}
	})
}
