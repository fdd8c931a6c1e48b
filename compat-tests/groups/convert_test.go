//go:build compat

package groups

import "fmt"

// convert replaces the classic members of a live group by members of the consumer protocol one by one, and these by
// classic ones again, as a rolling deployment would: each is closed, then the new one joins. No record is lost or read
// twice. What need not move goes on if the classic members are cooperative; those of librdkafka have to be eager, since
// a group whose members keep data of their assignor is not converted.
func convert(s *story, program, classic string) {
	name := fmt.Sprintf("convert-%s-%s", program, classic)
	m := func(protocol string, i int) member {
		return member{program: program, name: fmt.Sprintf("%s%d", protocol, i), group: name, topics: name,
			protocol: protocol, options: "session=20000 heartbeat=500"}
	}
	var changes []change
	for _, way := range [][2]string{{classic, "consumer"}, {"consumer", classic}} {
		for i := range 3 {
			changes = append(changes, change{false, m(way[0], i)}, change{true, m(way[1], i)})
		}
	}
	for _, step := range walk(s, []member{m(classic, 0), m(classic, 1), m(classic, 2)}, changes) {
		if classic == "cooperative" {
			step.check(s, program)
		}
	}
}
