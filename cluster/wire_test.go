package cluster

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// fill gives every field of v something that is not zero, so that one that does not travel is seen.
func fill(v reflect.Value, n *int64) {
	*n++
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		v.SetInt(*n % 100)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n % 200))
	case reflect.String:
		v.SetString(string(rune('a' + *n%26)))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Map:
		m := reflect.MakeMap(v.Type())
		for range 2 {
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(k, n)
			fill(e, n)
			m.SetMapIndex(k, e)
		}
		v.Set(m)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	default:
		panic("no value for " + v.Type().String())
	}
}

func TestEveryCommandAndReplyTravels(t *testing.T) {
	w := newWire()
	var n int64
	for _, row := range commandTypes {
		for _, full := range []bool{true, false} {
			c, r := reflect.New(reflect.TypeOf(row.command)).Elem(), reflect.New(reflect.TypeOf(row.reply)).Elem()
			if full {
				fill(c, &n)
				fill(r, &n)
			}
			gotC, err := w.decodeCommand(w.encodeCommand(c.Interface().(meta.Command)))
			if err != nil || !reflect.DeepEqual(gotC, c.Interface()) {
				t.Errorf("sent %+v, got %+v: %v", c, gotC, err)
			}
			gotR, err := w.decodeReply(w.encodeReply(r.Interface().(meta.Reply)))
			if err != nil || !reflect.DeepEqual(gotR, r.Interface()) {
				t.Errorf("sent %+v, got %+v: %v", r, gotR, err)
			}
		}
	}
}

func TestNothingIsNotAnEmptyList(t *testing.T) {
	w := newWire()
	for _, replicas := range [][]protocol.BrokerID{nil, {}} { // nil cancels a reassignment
		c := meta.AlterReassignments{Partitions: []meta.Reassignment{{Replicas: replicas}}}
		got, err := w.decodeCommand(w.encodeCommand(c))
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("sent %#v, got %#v: %v", c, got, err)
		}
	}
}

func TestAFieldOfANewerBuildIsPassedOver(t *testing.T) {
	w := newWire()
	type newer struct {
		ID      protocol.BrokerID
		Epoch   int64
		Comes   []string
		Nobody  map[string]int
		Offsets struct{ A, B int64 }
	}
	b := w.encode(envelope{Name: "BrokerHeartbeat", Body: w.encode(newer{ID: 3, Epoch: 9, Comes: []string{"x"}})})
	got, err := w.decodeCommand(b)
	if want := (meta.BrokerHeartbeat{ID: 3, Epoch: 9}); err != nil || got != want {
		t.Errorf("got %+v: %v", got, err)
	}
	if _, err := w.decodeCommand(w.encode(envelope{Name: "FromTheFuture", Body: w.encode(1)})); !errors.Is(err, errWire) {
		t.Errorf("an unknown command: %v", err)
	}
}

func TestAMessageWithoutEndIsRefused(t *testing.T) {
	w := newWire()
	huge := []byte{0x82, 0x6c}
	huge = append(huge, "CreateTopics"...)
	huge = append(huge, 0xa1, 0x66)
	huge = append(huge, "Topics"...)
	huge = append(huge, 0x9b, 0, 0, 0, 0, math.MaxUint8, 0, 0, 0) // a list of 2^32 elements, of which none follows
	deep := bytes.Repeat([]byte{0x81}, 1<<16)
	for _, b := range [][]byte{nil, {0x82}, huge, deep} {
		if c, err := w.decodeCommand(b); !errors.Is(err, errWire) {
			t.Errorf("%d bytes: %+v, %v", len(b), c, err)
		}
	}
}

func FuzzWire(f *testing.F) {
	w := newWire()
	var n int64
	for _, row := range commandTypes {
		c, r := reflect.New(reflect.TypeOf(row.command)).Elem(), reflect.New(reflect.TypeOf(row.reply)).Elem()
		fill(c, &n)
		fill(r, &n)
		f.Add(w.encodeCommand(c.Interface().(meta.Command)))
		f.Add(w.encodeReply(r.Interface().(meta.Reply)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := w.decodeCommand(b); err == nil {
			again, err := w.decodeCommand(w.encodeCommand(c))
			if err != nil || !reflect.DeepEqual(again, c) {
				t.Errorf("%+v became %+v: %v", c, again, err)
			}
		}
		if r, err := w.decodeReply(b); err == nil {
			if _, err := w.decodeReply(w.encodeReply(r)); err != nil {
				t.Errorf("%+v: %v", r, err)
			}
		}
	})
}
