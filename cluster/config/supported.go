package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Supported says what of the configuration moldau cannot do yet and must not pass over in silence, since whoever wrote it
// relies on it: protection that would not be there, members that would not be joined, secrets that would be literal text.
func (s *Static) Supported() error {
	var faults []error
	if roles, given := s.Given("process.roles"); given && !slices.Contains(s.List("process.roles"), "broker") {
		faults = append(faults, fmt.Errorf("process.roles=%s: every moldau node is a broker and its own controller; "+
			"drop the nodes that are only controllers", roles))
	}
	if members := s.List("controller.quorum.bootstrap.servers"); len(members) > 1 {
		faults = append(faults, fmt.Errorf("controller.quorum.bootstrap.servers=%s: several addresses do not say which broker "+
			"begins the cluster; set controller.quorum.voters, or start the others with --join", strings.Join(members, ",")))
	}
	if _, err := s.QuorumVoters(); err != nil {
		faults = append(faults, err)
	}
	if class, _ := s.Get("authorizer.class.name"); class != "" {
		faults = append(faults, fmt.Errorf("authorizer.class.name=%s: moldau has no authorizer yet, so everybody would be "+
			"let in; take the setting out if that is meant", class))
	}
	if providers, _ := s.Get("config.providers"); providers != "" {
		faults = append(faults, fmt.Errorf("config.providers=%s: moldau takes values as they stand and resolves no ${...}; "+
			"write the values themselves", providers))
	}
	return errors.Join(faults...)
}

// Voter is one of controller.quorum.voters.
type Voter struct {
	ID   int32
	Addr string // host:port
}

// QuorumVoters is controller.quorum.voters where it names several nodes, this one among them; else nothing.
func (s *Static) QuorumVoters() ([]Voter, error) {
	list := s.List("controller.quorum.voters")
	if len(list) < 2 {
		return nil, nil
	}
	var out []Voter
	for _, entry := range list {
		id, addr, ok := strings.Cut(entry, "@")
		n, err := strconv.ParseInt(id, 10, 32)
		colon := strings.LastIndexByte(addr, ':')
		if !ok || err != nil || n < 0 || colon < 1 || colon == len(addr)-1 {
			return nil, fmt.Errorf("controller.quorum.voters: %q is not ID@HOST:PORT", entry)
		}
		out = append(out, Voter{ID: int32(n), Addr: addr})
	}
	if !slices.ContainsFunc(out, func(v Voter) bool { return v.ID == s.NodeID() }) {
		return nil, fmt.Errorf("controller.quorum.voters=%s does not name this node, whose id is %d: every moldau node is a "+
			"controller, too; set node.id to one of them, or start this broker with --join", strings.Join(list, ","), s.NodeID())
	}
	return out, nil
}

// ControllerListener is the listener that Kafka's controllers would use (controller.listener.names), if one is given. moldau
// listens there for other brokers.
func (s *Static) ControllerListener() (Listener, bool) {
	protocols, err := s.listenerProtocols()
	if err != nil {
		return Listener{}, false
	}
	text, _ := s.Get("listeners")
	all, err := ParseListeners(text, protocols)
	if err != nil {
		return Listener{}, false
	}
	for _, l := range all {
		if len(s.withoutControllers([]Listener{l})) == 0 {
			return l, true
		}
	}
	return Listener{}, false
}
