//go:build compat

package differential

import (
	"fmt"
	"net"
	"reflect"
	"regexp"
	"slices"
)

// A mask replaces fields that two brokers cannot have in common by what they say nevertheless: whether they are set.
type mask struct {
	path  *regexp.Regexp // "Api path", indexes included
	apply func(s *session, v reflect.Value) string
}

var maskTable = []mask{
	// Texts for people: each broker has its own words. Whether there are any is compared.
	{regexp.MustCompile(`ErrorMessage$|\.Documentation$`), presence},
	{regexp.MustCompile(`^(Metadata|DescribeCluster) ClusterID$`), presence},
	{regexp.MustCompile(`^(Metadata|DescribeCluster|Fetch|Produce|ShareFetch|ShareAcknowledge) Brokers.*\.(Host|Port)$`), address},
	{regexp.MustCompile(`^DescribeQuorum Nodes.*\.(Host|Port)$`), presentNumber},
	{regexp.MustCompile(`^FindCoordinator (.*\.)?(Host|Port)$`), address},
	{regexp.MustCompile(`^Metadata ControllerID$`), someBroker},
	{regexp.MustCompile(`^(Metadata|DescribeTopicPartitions) .*\.ISR$`), inAnyOrder},
	{regexp.MustCompile(`^ApiVersions FinalizedFeaturesEpoch$`), positive},
	{regexp.MustCompile(`^DescribeLogDirs .*\.(TotalBytes|UsableBytes)$`), positive},
	{regexp.MustCompile(`ProducerID$`), producer},
	{regexp.MustCompile(`^Fetch SessionID$`), placeholder("session")},
	{regexp.MustCompile(`^(ConsumerGroupHeartbeat|JoinGroup) MemberID$`), made},
}

// masked is what the first mask for this field makes of v.
func (s *session) masked(api, path string, v reflect.Value) (string, bool) {
	for _, m := range maskTable {
		if m.path.MatchString(api + " " + path) {
			return m.apply(s, v), true
		}
	}
	return "", false
}

// presence says whether a text is null, empty or set.
func presence(_ *session, v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "null"
		}
		v = v.Elem()
	}
	if v.Len() == 0 {
		return "empty text"
	}
	return "<text>"
}

// address says whether a host or port is the broker's own.
func address(s *session, v reflect.Value) string {
	text := fmt.Sprint(v.Interface())
	for i, b := range s.brokers {
		if _, port, _ := net.SplitHostPort(b.Addr); text == port {
			return fmt.Sprintf("<port of %d>", i+1)
		}
	}
	if host, port, _ := net.SplitHostPort(s.broker.Addr); text != host && text != port {
		return text
	}
	return "<own>"
}

// someBroker is a broker of a cluster, whichever; Kafka's draw one.
func someBroker(s *session, v reflect.Value) string {
	if len(s.brokers) > 1 && v.Int() > 0 {
		return "<some broker>"
	}
	return fmt.Sprint(v.Int())
}

// inAnyOrder is who is in sync: a set, whose order is that in which they came.
func inAnyOrder(_ *session, v reflect.Value) string {
	return fmt.Sprint(slices.Sorted(slices.Values(v.Interface().([]int32))))
}

// presentNumber says whether a host or port is set.
func presentNumber(_ *session, v reflect.Value) string {
	if v.IsZero() {
		return "none"
	}
	return "<some>"
}

// positive keeps numbers that mean "none" apart from the others.
func positive(_ *session, v reflect.Value) string {
	if v.Int() > 0 {
		return "<positive>"
	}
	return fmt.Sprint(v.Int())
}

// isGiven says whether a producer id was given out by a broker: those that scripts make up are large.
func isGiven(id int64) bool { return id >= 0 && id < 100_000 }

func producer(s *session, v reflect.Value) string {
	if !isGiven(v.Int()) {
		return fmt.Sprint(v.Int())
	}
	return s.names.of("producer", fmt.Sprint(v.Int()))
}

// shortID is a UUID in Kafka's short form.
var shortID = regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`)

// made keeps ids of members apart from those that the broker has made.
func made(s *session, v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "null"
		}
		v = v.Elem()
	}
	if shortID.MatchString(v.String()) {
		return "<made>"
	}
	return s.mask(fmt.Sprintf("%q", v.String()))
}

// placeholder names ids in the order in which they are first seen; 0 and below are kept.
func placeholder(kind string) func(*session, reflect.Value) string {
	return func(s *session, v reflect.Value) string {
		if v.Int() <= 0 {
			return fmt.Sprint(v.Int())
		}
		return s.names.of(kind, fmt.Sprint(v.Int()))
	}
}
