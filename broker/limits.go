package broker

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"moldau.io/moldau/cluster/config"
)

// limits bound what clients may take, by Kafka's names where Kafka has the limit. Zero means none.
type limits struct {
	frameBytes     int           // socket.request.max.bytes
	requestBytes   int64         // queued.max.request.bytes, over all connections
	idle           time.Duration // connections.max.idle.ms
	connections    int           // max.connections
	connectionsIP  int           // max.connections.per.ip
	connectionRate int           // max.connection.creation.rate, a second
}

// requestShare is the part of the memory that requests in flight may take where queued.max.request.bytes says nothing.
const requestShare = 4

func newLimits(st *config.Static) limits {
	l := limits{
		frameBytes:     int(st.Int("socket.request.max.bytes")),
		requestBytes:   st.Int("queued.max.request.bytes"),
		idle:           max(0, st.Millis("connections.max.idle.ms")),
		connections:    connectionsMax(st.Int("max.connections")),
		connectionsIP:  int(st.Int("max.connections.per.ip")),
		connectionRate: int(st.Int("max.connection.creation.rate")),
	}
	if l.requestBytes <= 0 {
		l.requestBytes = memoryLimit() / requestShare
	}
	return l
}

// relimit takes the limits that may change while the broker runs from its configuration of the moment. Connections
// that are open stay open.
func (s *server) relimit(v config.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lim.connections = connectionsMax(v.BrokerInt("max.connections"))
	s.lim.connectionsIP = int(v.BrokerInt("max.connections.per.ip"))
	s.lim.connectionRate = int(v.BrokerInt("max.connection.creation.rate"))
}

// descriptorsKept is how many file descriptors are not given to connections: twice what the store keeps open.
const descriptorsKept = 4096

// connectionsMax is max.connections, or what the process's file descriptors allow if that is less: without any left, no
// log file could be opened either.
func connectionsMax(configured int64) int {
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil && files.Cur < math.MaxInt32 {
		configured = min(configured, max(int64(files.Cur)/4, int64(files.Cur)-descriptorsKept))
	}
	return int(configured)
}

// memoryLimit is how many bytes this process may use: what the Go runtime was told, what the control group allows, or
// what the machine has, whichever is least.
func memoryLimit() int64 {
	limit := debug.SetMemoryLimit(-1)
	if raw, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64); err == nil {
			limit = min(limit, n)
		}
	}
	if raw, err := os.ReadFile("/proc/meminfo"); err == nil {
		if f := strings.Fields(string(raw)); len(f) > 1 && f[0] == "MemTotal:" {
			if n, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				limit = min(limit, n<<10)
			}
		}
	}
	if limit == math.MaxInt64 {
		return memoryUnknown
	}
	return limit
}

// memoryUnknown stands in where nothing says how much memory there is.
const memoryUnknown = 1 << 30
