package assignor

import (
	"fmt"
	"reflect"
	"testing"

	"moldau.io/moldau/protocol"
)

// FuzzAssign gives the assignors groups that no coordinator has: targets that overlap, that name topics twice, and
// partitions that are not there. They must come to an end, to the same one each time, and assign nothing twice when the
// targets were sound.
func FuzzAssign(f *testing.F) {
	f.Add([]byte{3, 1, 10, 2, 0, 1, 2, 3, 1, 4, 0, 7, 9, 200, 3, 3, 3}, true)
	f.Add([]byte{9, 4, 30, 0, 1, 7, 7, 3, 1, 4, 0, 7, 9, 200, 3, 3, 3, 255, 254, 8, 0, 0, 0, 2, 1, 5, 77, 5, 6}, false)
	f.Fuzz(func(t *testing.T, data []byte, homogeneous bool) {
		g, sound := groupOf(data, homogeneous)
		for _, assignor := range assignors {
			a, err := assignor.assign(g)
			again, _ := assignor.assign(g)
			if !reflect.DeepEqual(a, again) {
				t.Fatalf("%s: %v and then %v", assignor.name, a, again)
			}
			if _, twice := owners(a); sound && (err != nil || twice != nil) {
				t.Fatalf("%s: %v, %v", assignor.name, err, twice)
			}
		}
	})
}

// groupOf reads members, topics, the partitions of each, and then pairs of what a member's target has.
func groupOf(data []byte, homogeneous bool) (g Group, sound bool) {
	next := func() (b byte) {
		if len(data) > 0 {
			b, data = data[0], data[1:]
		}
		return b
	}
	g.Homogeneous, g.Topics = homogeneous, map[string]TopicInfo{}
	members, topics := 1+int(next())%12, int(next())%6
	var names []string
	for i := range topics {
		name := fmt.Sprint("t", i)
		names = append(names, name)
		g.Topics[name] = TopicInfo{protocol.TopicID{byte(i), next()}, int(next()) % 40}
	}
	for i := range members {
		m := Member{ID: fmt.Sprint("m", i)}
		chosen := next()
		for j, name := range names {
			if homogeneous || chosen>>j&1 == 1 {
				m.Names = append(m.Names, name)
			}
		}
		g.Members = append(g.Members, m)
	}
	sound = true
	given := map[owned]bool{}
	for len(data) > 1 {
		m, p := &g.Members[int(next())%members], int32(int8(next()))
		info, known := g.Topics[fmt.Sprint("t", int(p&7))]
		id := info.ID
		if !known {
			id = protocol.TopicID{9}
		}
		if n := len(m.Target); n > 0 && m.Target[n-1].ID == id {
			m.Target[n-1].Partitions = append(m.Target[n-1].Partitions, p)
		} else {
			for _, t := range m.Target {
				sound = sound && t.ID != id
			}
			m.Target = append(m.Target, Topic{id, []int32{p}})
		}
		sound = sound && !given[owned{id, p}] && p >= 0 && (!known || int(p) < info.Partitions)
		given[owned{id, p}] = true
	}
	return g, sound
}
