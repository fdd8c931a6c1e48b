package config

import (
	"errors"
	"fmt"
	"slices"
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
	for _, key := range []string{"controller.quorum.voters", "controller.quorum.bootstrap.servers"} {
		if members := s.List(key); len(members) > 1 {
			faults = append(faults, fmt.Errorf("%s=%s: clusters of more than one broker are not there yet", key,
				strings.Join(members, ",")))
		}
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
