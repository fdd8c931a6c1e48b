package link

import (
	"time"
)

// Peer is who is at the other end of a connection, as it says itself.
type Peer struct {
	Name      string // of the broker: its node id, or empty before it has one
	Addr      string // its cluster address, where it can be dialed
	ClusterID string // empty: it has not joined a cluster yet
	Build     string
	Process   int64 // drawn anew by each process

	purpose byte
	clock   time.Time
}

// Purposes of a connection.
const (
	purposeCalls  = 1
	purposeStream = 2
)

// Tags of a hello's fields.
const (
	helloCluster = 1
	helloBuild   = 2
	helloClock   = 3 // milliseconds since 1970
	helloProcess = 4
	helloAddr    = 5
	helloPurpose = 6
	helloName    = 7
)

// helloBytesMax is more than any hello that is honest.
const helloBytesMax = 2048

func (p Peer) hello() []byte {
	var f Fields
	f = f.AddString(helloCluster, p.ClusterID).AddString(helloBuild, p.Build).AddInt(helloClock, p.clock.UnixMilli())
	f = f.AddInt(helloProcess, p.Process).AddString(helloAddr, p.Addr).AddString(helloName, p.Name)
	return f.Add(helloPurpose, []byte{p.purpose})
}

func readHello(b []byte) (Peer, error) {
	var p Peer
	err := Fields(b).Each(func(tag byte, v []byte) {
		switch tag {
		case helloCluster:
			p.ClusterID = string(v)
		case helloBuild:
			p.Build = string(v)
		case helloClock:
			p.clock = time.UnixMilli(Int(v))
		case helloProcess:
			p.Process = Int(v)
		case helloAddr:
			p.Addr = string(v)
		case helloName:
			p.Name = string(v)
		case helloPurpose:
			if len(v) == 1 {
				p.purpose = v[0]
			}
		}
	})
	return p, err
}
