package config

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Listener is an address under a name. The name decides what a client is told: a client that came in on a listener is
// told the advertised addresses of the same name.
type Listener struct {
	Name     string
	Host     string // empty: all addresses
	Port     int32  // 0: any free one
	Protocol string // PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL
}

// Wildcard says that the listener takes connections on every address of the machine.
func (l Listener) Wildcard() bool {
	addr, err := netip.ParseAddr(l.Host)
	return l.Host == "" || err == nil && addr.IsUnspecified()
}

// Address is host:port, with brackets around an IPv6 host.
func (l Listener) Address() string { return joinHostPort(l.Host, l.Port) }

// String is the listener as Kafka writes it.
func (l Listener) String() string { return l.Name + "://" + l.Address() }

func joinHostPort(host string, port int32) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(port))
}

// Listeners is where a broker listens and what its clients are told.
type Listeners struct {
	Kafka []Listener // for clients and other brokers
	// Advertised has one entry for each of Kafka, in the same order. An empty Host means: the address that the client
	// reached; a zero Port: the port listened on.
	Advertised []Listener
}

var listenerForm = regexp.MustCompile(`^([A-Za-z0-9_.-]*)://(\[[0-9A-Fa-f:.%A-Za-z]*\]|[^:/\[\]]*):(-?[0-9]+)$`)

// ParseListeners reads a list of listeners in one of two forms: host:port (one, named PLAINTEXT) or Kafka's
// NAME://host:port,NAME://host:port. Protocols are found in the map of listener.security.protocol.map.
func ParseListeners(text string, protocols map[string]string) ([]Listener, error) {
	if !strings.Contains(text, "://") {
		text = "PLAINTEXT://" + strings.TrimSpace(text)
	}
	var out []Listener
	for _, part := range commaAndBlanks.Split(strings.TrimSpace(text), -1) {
		m := listenerForm.FindStringSubmatch(part)
		if m == nil {
			return nil, fmt.Errorf("listener %q is neither host:port nor NAME://host:port", part)
		}
		port, err := strconv.ParseUint(m[3], 10, 16)
		if err != nil {
			return nil, fmt.Errorf("listener %q: a port is a number from 0 to 65535", part)
		}
		name := strings.ToUpper(m[1])
		protocol, ok := protocols[name]
		if !ok {
			return nil, fmt.Errorf("listener %q: no security protocol is given for the name %s; "+
				"add %s:PLAINTEXT to listener.security.protocol.map", part, name, name)
		}
		host := strings.TrimSuffix(strings.TrimPrefix(m[2], "["), "]")
		out = append(out, Listener{Name: name, Host: host, Port: int32(port), Protocol: protocol})
	}
	return out, nil
}

// Listeners puts together what the static configuration says of listeners and checks it. Listeners that only Kafka's
// controllers use (controller.listener.names) are left out: moldau's metadata quorum has its own address.
func (s *Static) Listeners() (Listeners, error) {
	protocols, err := s.listenerProtocols()
	if err != nil {
		return Listeners{}, err
	}
	text, _ := s.Get("listeners")
	if _, given := s.Given("listeners"); !given {
		text = DefaultListener
	}
	all, err := ParseListeners(text, protocols)
	if err != nil {
		return Listeners{}, fmt.Errorf("listeners: %w", err)
	}
	var advertised []Listener
	if text, ok := s.Get("advertised.listeners"); ok && text != "" {
		if !strings.Contains(text, "://") && len(s.withoutControllers(all)) == 1 {
			text = s.withoutControllers(all)[0].Name + "://" + text // the short form means the only listener
		}
		if advertised, err = ParseListeners(text, protocols); err != nil {
			return Listeners{}, fmt.Errorf("advertised.listeners: %w", err)
		}
	}
	ls := Listeners{Kafka: s.withoutControllers(all)}
	if err := checkListeners(ls.Kafka, advertised, all); err != nil {
		return Listeners{}, err
	}
	for _, l := range ls.Kafka {
		told := l
		if i := slices.IndexFunc(advertised, func(a Listener) bool { return a.Name == l.Name }); i >= 0 {
			told = advertised[i]
		} else if l.Wildcard() {
			told.Host = ""
		}
		ls.Advertised = append(ls.Advertised, told)
	}
	return ls, nil
}

// DefaultListener is where a broker listens that was told nothing. Kafka listens on all addresses; a broker without any
// authentication should be asked for that.
const DefaultListener = "PLAINTEXT://127.0.0.1:9092"

func checkListeners(kafka, advertised, all []Listener) error {
	if len(kafka) == 0 {
		return errors.New("listeners: at least one listener must be for clients")
	}
	var faults []error
	names, ports := map[string]bool{}, map[string]bool{}
	for _, l := range kafka {
		if names[l.Name] {
			faults = append(faults, fmt.Errorf("listeners: the name %s is used twice", l.Name))
		}
		if l.Port != 0 && ports[l.Address()] {
			faults = append(faults, fmt.Errorf("listeners: the address %s is used twice", l.Address()))
		}
		names[l.Name], ports[l.Address()] = true, true
		if l.Protocol != "PLAINTEXT" {
			faults = append(faults, fmt.Errorf("listeners: %s asks for %s, which moldau does not offer yet; it would have "+
				"to serve it unprotected, so it refuses to start (only PLAINTEXT works)", l, l.Protocol))
		}
	}
	for _, a := range advertised {
		if !slices.ContainsFunc(all, func(l Listener) bool { return l.Name == a.Name }) {
			faults = append(faults, fmt.Errorf("advertised.listeners: %s has no listener of that name in listeners", a))
		}
		if a.Host != "" && a.Wildcard() {
			faults = append(faults, fmt.Errorf("advertised.listeners: %s is no address that a client can connect to; "+
				"name the host or leave the setting out", a))
		}
	}
	return errors.Join(faults...)
}

func (s *Static) withoutControllers(all []Listener) []Listener {
	controllers := s.List("controller.listener.names")
	return slices.DeleteFunc(slices.Clone(all), func(l Listener) bool {
		return slices.ContainsFunc(controllers, func(c string) bool { return strings.EqualFold(c, l.Name) })
	})
}

// listenerProtocols reads listener.security.protocol.map and gives the names of controller listeners PLAINTEXT where
// they are not in it, as Kafka does.
func (s *Static) listenerProtocols() (map[string]string, error) {
	text, _ := s.Get("listener.security.protocol.map")
	out := map[string]string{}
	for _, entry := range commaAndBlanks.Split(strings.TrimSpace(text), -1) {
		name, protocol, ok := strings.Cut(entry, ":")
		protocol = strings.ToUpper(strings.TrimSpace(protocol))
		known := slices.Contains([]string{"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"}, protocol)
		if !ok || !known {
			return nil, fmt.Errorf("listener.security.protocol.map: %q is not NAME:PROTOCOL with PLAINTEXT, SSL, "+
				"SASL_PLAINTEXT or SASL_SSL", entry)
		}
		out[strings.ToUpper(strings.TrimSpace(name))] = protocol
	}
	for _, name := range s.List("controller.listener.names") {
		if _, ok := out[strings.ToUpper(name)]; !ok {
			out[strings.ToUpper(name)] = "PLAINTEXT"
		}
	}
	return out, nil
}
