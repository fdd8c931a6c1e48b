package gossip

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"

	"moldau.io/moldau/cluster/link"
	"moldau.io/moldau/protocol"
)

// Member is a broker as it describes itself.
type Member struct {
	ID        protocol.BrokerID
	ClusterID string
	Addr      string   // its cluster address
	Listeners []string // where clients reach it, NAME://host:port
	Rack      string
	Version   string // of its build
	Quorum    uint64 // its id in the metadata quorum
	Started   time.Time
}

// Tags of the fields in which a member is written (link.Fields).
const (
	tagID       = 1
	tagCluster  = 2
	tagAddr     = 3
	tagListener = 4
	tagRack     = 5
	tagVersion  = 6
	tagQuorum   = 7
	tagStarted  = 8
)

// encode makes at most 512 bytes. Listeners that find no room are left out: registrations have them all.
func (m Member) encode() ([]byte, error) {
	var f link.Fields
	f = f.AddInt(tagID, int64(m.ID)).AddString(tagCluster, m.ClusterID).AddString(tagAddr, m.Addr)
	f = f.AddInt(tagQuorum, int64(m.Quorum)).AddInt(tagStarted, m.Started.UnixMilli())
	f = f.AddString(tagRack, m.Rack).AddString(tagVersion, m.Version)
	if len(f) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("what this broker says of itself takes %d bytes, more than %d: "+
			"its rack or its cluster address is too long", len(f), memberlist.MetaMaxSize)
	}
	for _, l := range m.Listeners {
		if more := f.AddString(tagListener, l); len(more) <= memberlist.MetaMaxSize {
			f = more
		}
	}
	return f, nil
}

var errNoMember = errors.New("it does not say who it is")

func decode(b []byte) (Member, error) {
	m := Member{ID: -1}
	err := link.Fields(b).Each(func(tag byte, v []byte) {
		switch tag {
		case tagID:
			m.ID = protocol.BrokerID(link.Int(v))
		case tagCluster:
			m.ClusterID = clean(v)
		case tagAddr:
			m.Addr = clean(v)
		case tagListener:
			m.Listeners = append(m.Listeners, clean(v))
		case tagRack:
			m.Rack = clean(v)
		case tagVersion:
			m.Version = clean(v)
		case tagQuorum:
			m.Quorum = uint64(link.Int(v))
		case tagStarted:
			m.Started = time.UnixMilli(link.Int(v))
		}
	})
	if err == nil && (m.Addr == "" || m.ID < 0) {
		err = errNoMember
	}
	return m, err
}

// clean keeps what is harmless on a terminal.
func clean(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '.'
		}
		return r
	}, strings.ToValidUTF8(string(b), "."))
}

func (m Member) equal(o Member) bool {
	listeners := slices.Equal(m.Listeners, o.Listeners)
	m.Listeners, o.Listeners = nil, nil
	return listeners && m.ID == o.ID && m.ClusterID == o.ClusterID && m.Addr == o.Addr && m.Rack == o.Rack &&
		m.Version == o.Version && m.Quorum == o.Quorum && m.Started.Equal(o.Started)
}
