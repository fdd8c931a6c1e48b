package coordinator

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"testing"

	"moldau.io/moldau/coordinator/group"
)

// The golden file is the story of compat-tests/golden: what each member said of itself is known.
func TestC90_CodecReadsKafkasConsumerGroups(t *testing.T) {
	segment, err := os.ReadFile(goldenFiles(t, "consumer")[0])
	if err != nil {
		t.Fatal(err)
	}
	kinds, tombstones := map[group.Kind]int{}, map[group.Kind]int{}
	members := map[string][]*group.Member{}
	var regex *group.Regex
	var currents []*group.Current
	var targets []*group.Target
	hashed, partitions := false, 0
	eachRecord(t, segment, func(key, value []byte) {
		r, err := newDecoder().decode(key, value)
		if err != nil {
			t.Fatal(err)
		}
		kinds[r.Kind]++
		switch v := r.Value.(type) {
		case nil:
			tombstones[r.Kind]++
		case *group.Member:
			members[r.Name] = append(members[r.Name], v)
		case *group.Regex:
			regex = v
		case *group.Current:
			currents = append(currents, v)
		case *group.Target:
			targets = append(targets, v)
		case *group.Epoch:
			hashed = hashed || v.MetadataHash != 0
		case *group.MemberTarget:
			for _, topic := range v.Topics {
				partitions += len(topic.Partitions)
			}
		}
	})
	for k := group.KindEpoch; k <= group.KindRegex; k++ {
		if k != group.KindPartitions && (kinds[k] == 0 || tombstones[k] == 0) {
			t.Errorf("%d records and %d tombstones of kind %d", kinds[k], tombstones[k], k)
		}
	}
	first := members["m1"][0]
	if *first.Rack != "r1" || *first.Assignor != "range" || !slices.Equal(first.Topics, []string{"missing", "rides", "x"}) ||
		first.Instance != nil || first.RebalanceMillis != 60_000 || first.ClientID != "kgo" || first.Classic != nil {
		t.Errorf("m1 is %+v", first)
	}
	if m := members["m2"][0]; *m.Instance != "i2" || *m.Regex != "rid.*" || m.Assignor != nil || len(m.Topics) != 0 {
		t.Errorf("m2 is %+v", m)
	}
	if regex == nil || !slices.Equal(regex.Topics, []string{"rider-updates", "rides"}) || regex.Timestamp == 0 {
		t.Errorf("the expression has %+v", regex)
	}
	classic := false
	for _, all := range members {
		for _, m := range all {
			if m.Classic == nil {
				continue
			}
			classic = true
			if *m.Instance != "old" || m.Classic.SessionMillis != 45_000 || len(m.Classic.Protocols) != 1 ||
				m.Classic.Protocols[0].Name != "cooperative-sticky" || len(m.Classic.Protocols[0].Metadata) == 0 {
				t.Errorf("the classic member is %+v %+v", m, m.Classic)
			}
		}
	}
	unrevoked, withEpochs := false, false
	for _, c := range currents {
		unrevoked = unrevoked || c.State == group.MemberUnrevoked && len(c.Revoking) > 0
		for _, topic := range c.Assigned {
			withEpochs = withEpochs || len(topic.Epochs) > 0 && len(topic.Epochs) == len(topic.Partitions)
		}
	}
	if !hashed || !classic || !unrevoked || !withEpochs || partitions == 0 || targets[0].Timestamp == 0 {
		t.Error("the file does not hold all that it is to hold:", hashed, classic, unrevoked, withEpochs, partitions)
	}
}

func TestRecordsOfOtherGroupsAreForeign(t *testing.T) {
	for _, key := range []int16{-1, 9, 10, 11, 12, 13, 14, 15, 17, 18, 22, 23, 1000} {
		for _, value := range [][]byte{nil, {}, {0, 0, 0, 0, 0, 1, 0}, {0xff}} {
			_, err := newDecoder().decode([]byte{byte(key >> 8), byte(key), 0, 1, 'g'}, value)
			if !errors.Is(err, errForeign) {
				t.Errorf("key %d: %v", key, err)
			}
		}
	}
}

func TestDamagedRecordsOfConsumerGroupsAreNotRead(t *testing.T) {
	for _, r := range consumerRecords() {
		key, value := encodeRecord(&r)
		if value == nil || r.Kind == group.KindPartitions {
			continue
		}
		for n := range value {
			if _, err := newDecoder().decode(key, value[:n:n]); err == nil || errors.Is(err, errForeign) {
				t.Errorf("%+v: %d of %d bytes: %v", r, n, len(value), err)
			}
		}
		newer := slices.Clone(value)
		newer[1] = 1
		if _, err := newDecoder().decode(key, newer); err == nil || errors.Is(err, errForeign) {
			t.Errorf("version 1 of %+v: %v", r, err)
		}
		for n := range key {
			if _, err := newDecoder().decode(key[:n:n], value); err == nil {
				t.Errorf("%d bytes of key %x", n, key)
			}
		}
	}
}

func TestCodecSkipsTagsItDoesNotKnow(t *testing.T) {
	r := group.Record{Kind: group.KindEpoch, Group: "c"}
	key, _ := encodeRecord(&r)
	value := []byte{0, 0, 0, 0, 0, 5, 3, 0, 8, 0, 0, 0, 0, 0, 0, 0, 6, 1, 2, 'x', 'y', 200, 1, 0}
	got, err := newDecoder().decode(key, value)
	if err != nil || !reflect.DeepEqual(got.Value, &group.Epoch{Epoch: 5, MetadataHash: 6}) {
		t.Errorf("%+v, %v", got.Value, err)
	}
}

// Epochs of another number than the partitions, or null, count for nothing: the epoch of the member stands for them.
func TestEpochsThatDoNotFitAreDropped(t *testing.T) {
	r := group.Record{Kind: group.KindCurrent, Group: "c", Name: "m"}
	key, _ := encodeRecord(&r)
	id := make([]byte, 16)
	for _, tags := range [][]byte{{1, 0, 1, 0}, {1, 0, 5, 2, 0, 0, 0, 1}} {
		value := append([]byte{0, 0, 0, 0, 0, 5, 0, 0, 0, 4, 0, 2}, id...)
		value = append(value, 3, 0, 0, 0, 1, 0, 0, 0, 2) // partitions 1 and 2
		value = append(append(value, tags...), 1, 0)
		got, err := newDecoder().decode(key, value)
		if err != nil {
			t.Fatal(err)
		}
		if a := got.Value.(*group.Current).Assigned; len(a) != 1 || a[0].Epochs != nil || len(a[0].Partitions) != 2 {
			t.Errorf("%+v", a)
		}
	}
}
