//go:build compat

package groups

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"time"
)

// mixed is one group with members of three clients, in which they come and go in an order by chance. Each step is one
// member; the group has one at least. With both protocols the group is converted whenever chance brings the first member
// of the new one, or takes the last.
func mixed(s *story, _, protocol string) {
	const partitions, steps = 12, 12
	name := "mixed-" + protocol
	w := s.topic(name, partitions)
	var out, in []member
	for _, client := range []string{"java", "confluent-kafka", "franz-go"} {
		for _, who := range []string{"1", "2"} {
			m := member{program: client, name: client + who, group: name, topics: name, protocol: protocol}
			if protocol == "both" {
				m.protocol = map[string]string{"1": "range", "2": "consumer"}[who]
			}
			out = append(out, m)
		}
	}
	seed, err := strconv.ParseUint(os.Getenv("MOLDAU_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	s.t.Logf("MOLDAU_SEED=%d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	w.run(10 * time.Millisecond)
	for range steps {
		from := now()
		if join := len(in) < 2 || len(out) > 0 && chance.IntN(2) == 0; join {
			i := chance.IntN(len(out))
			s.open(out[i])
			in, out = append(in, out[i]), slices.Delete(out, i, i+1)
		} else {
			i := chance.IntN(len(in))
			s.close(in[i])
			out, in = append(out, in[i]), slices.Delete(in, i, i+1)
		}
		s.awaitSpread(name, len(in), partitions, partitions/len(in), (partitions+len(in)-1)/len(in))
		s.awaitMore(name, 3)
		if protocol == "consumer" {
			s.check(name, s.history(name).CheckKept(from, now()))
		}
	}
	w.stop()
	s.awaitRead(name, w)
	for len(in) > 0 { // one at a time: a commit may be refused while a rebalance goes on
		s.close(in[0])
		if in = in[1:]; len(in) > 0 {
			s.awaitSpread(name, len(in), partitions)
		}
	}
	h := s.history(name)
	s.check(name, h.CheckOnce(w.written()), h.CheckOrder(), h.CheckExclusive())
	s.checkCommitted(name, w)
}
