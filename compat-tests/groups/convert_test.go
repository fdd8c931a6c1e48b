//go:build compat

package groups

import "fmt"

// convert replaces the classic members of a live group by members of the consumer protocol one by one, and these by
// classic ones again, as a rolling deployment would: each is closed, then the new one joins. No record is lost or read
// twice. The group is of the new type from the first member of the new protocol on, and of the old one when the last of
// them has gone. What need not move goes on if the classic members are cooperative; those of librdkafka have to be eager, since
// a group whose members keep data of their assignor is not converted.
func convert(s *story, program, classic string) {
	name := fmt.Sprintf("convert-%s-%s", program, classic)
	m := func(protocol string, i int) member {
		return member{program: program, name: fmt.Sprintf("%s%d", protocol, i), group: name, topics: name,
			protocol: protocol, options: "session=20000 heartbeat=500"}
	}
	var changes []change
	for i := range 3 {
		changes = append(changes, change{false, m(classic, i), ""}, change{true, m("consumer", i), "consumer"})
	}
	for i, kind := range []string{"consumer", "consumer", "classic"} {
		changes = append(changes, change{false, m("consumer", i), kind}, change{true, m(classic, i), kind})
	}
	for _, step := range walk(s, []member{m(classic, 0), m(classic, 1), m(classic, 2)}, changes) {
		if classic == "cooperative" {
			step.check(s, program)
		}
	}
}
