package harness

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kind says which program a broker is.
type Kind string

// The brokers that the tests can run against.
const (
	Moldau Kind = "moldau"
	Kafka  Kind = "kafka"
)

// UnderTest is the broker that the tests are about: moldau, unless MOLDAU_COMPAT_BROKER=kafka asks for the baseline,
// which shows that the tests ask for nothing that Apache Kafka does not do.
func UnderTest() Kind {
	if Kind(os.Getenv("MOLDAU_COMPAT_BROKER")) == Kafka {
		return Kafka
	}
	return Moldau
}

// Config is how a broker is started.
type Config struct {
	Kind       Kind              // UnderTest() when empty
	Properties map[string]string // beside the stock ones
	JavaHeap   string            // Kafka's heap; default 1G, as its start script
	DataDir    string            // default: a fresh folder that goes when the test ends
	OtherDirs  []string          // further data folders
	Binary     string            // of moldau, where it is not the one built from this tree
	Flags      []string          // further flags of moldau serve

	seat seat // in a cluster
}

// Broker is one broker process and its data folder, which outlives the process.
type Broker struct {
	Kind    Kind
	Addr    string // host:port of the Kafka listener
	DataDir string // where the topic-partition folders are
	LogFile string // what the process wrote

	cfg   Config
	ports [3]int // Kafka listener, cluster or controller listener, admin listener
	cmd   *exec.Cmd
	done  chan struct{}
}

// Start starts a broker, on a fresh folder unless cfg names one, and waits until it answers. It is stopped when the test ends.
func Start(tb testing.TB, cfg Config) *Broker {
	tb.Helper()
	if cfg.Kind == "" {
		cfg.Kind = UnderTest()
	}
	if cfg.JavaHeap == "" {
		cfg.JavaHeap = "1G"
	}
	dir := tb.TempDir()
	b := &Broker{Kind: cfg.Kind, DataDir: filepath.Join(dir, "data"), LogFile: filepath.Join(dir, "broker.log"), cfg: cfg}
	if cfg.DataDir != "" {
		b.DataDir = cfg.DataDir
	}
	for i := range b.ports {
		b.ports[i] = freePort(tb)
	}
	b.Addr = b.local(0)
	if b.Kind == Kafka {
		b.formatKafka(tb, "--standalone")
	}
	b.Run(tb)
	b.endWith(tb)
	return b
}

// endWith ends the broker with the test, and shows what it wrote when the test has failed.
func (b *Broker) endWith(tb testing.TB) {
	tb.Cleanup(func() {
		b.kill()
		if tb.Failed() {
			text, _ := os.ReadFile(b.LogFile)
			tb.Logf("%s wrote:\n%s", b.name(), Tail(string(text), 60))
		}
	})
}

// name is the kind, and in a cluster the number.
func (b *Broker) name() string {
	if b.cfg.seat.number == 0 {
		return string(b.Kind)
	}
	return fmt.Sprintf("%s %d", b.Kind, b.cfg.seat.number)
}

// local is the address of one of the ports.
func (b *Broker) local(port int) string {
	return net.JoinHostPort(cmp.Or(b.cfg.seat.host, "127.0.0.1"), strconv.Itoa(b.ports[port]))
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Run starts the process on the folder that is there, and waits until it answers.
func (b *Broker) Run(tb testing.TB) {
	tb.Helper()
	b.Launch(tb)
	b.Await(tb)
}

// Launch starts the process on the folder that is there.
func (b *Broker) Launch(tb testing.TB) {
	tb.Helper()
	argv := b.moldauCommand(tb)
	if b.Kind == Kafka {
		argv = b.kafkaCommand()
	}
	if ns := b.cfg.seat.namespace; ns != "" {
		argv = append([]string{"ip", "netns", "exec", ns}, argv...) // which becomes the broker: the process id is the same
	}
	log, err := os.OpenFile(b.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		tb.Fatal(err)
	}
	defer log.Close()
	b.cmd = exec.Command(argv[0], argv[1:]...)
	b.cmd.Stdout, b.cmd.Stderr = log, log
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := start(b.cmd); err != nil {
		tb.Fatalf("start %s: %v", b.name(), err)
	}
	cmd, done := b.cmd, make(chan struct{})
	b.done = done
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
}

// Await waits for an answer to Metadata that names a broker, which every client asks for first.
func (b *Broker) Await(tb testing.TB) {
	tb.Helper()
	deadline := time.Now().Add(90 * time.Second)
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	var err error
	for time.Now().Before(deadline) {
		if err = b.answersMetadata(); err == nil {
			return
		}
		select {
		case <-pause.C:
		case <-b.done:
			text, _ := os.ReadFile(b.LogFile)
			tb.Fatalf("%s ended before it was ready: %v\n%s", b.name(), b.cmd.ProcessState, Tail(string(text), 60))
		}
	}
	tb.Fatalf("%s is not ready: %v", b.name(), err)
}

func (b *Broker) answersMetadata() error {
	c, err := Dial(b.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 1
	req.Topics = []kmsg.MetadataRequestTopic{}
	resp, err := c.Ask(req, 2*time.Second)
	if err != nil {
		return err
	}
	if len(resp.(*kmsg.MetadataResponse).Brokers) == 0 {
		return errors.New("metadata without brokers")
	}
	return nil
}

// PID is the process id.
func (b *Broker) PID() int { return b.cmd.Process.Pid }

// Stop asks the broker to end and fails the test when it does not, or not cleanly.
func (b *Broker) Stop(tb testing.TB) {
	tb.Helper()
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		tb.Fatalf("stop %s: %v", b.name(), err)
	}
	select {
	case <-b.done:
	case <-time.After(60 * time.Second):
		tb.Fatalf("%s did not end in 60 s after SIGTERM", b.name())
	}
	// The JVM ends with 143 after a signal that it has handled.
	if code := b.cmd.ProcessState.ExitCode(); code != 0 && !(b.Kind == Kafka && code == 143) {
		tb.Fatalf("%s ended with code %d after SIGTERM", b.name(), code)
	}
}

// Kill is kill -9.
func (b *Broker) Kill(tb testing.TB) {
	tb.Helper()
	b.kill()
}

func (b *Broker) kill() {
	if b.cmd == nil || b.cmd.Process == nil {
		return
	}
	_ = b.cmd.Process.Kill()
	<-b.done
}

// Freeze is SIGSTOP: the process is there and does nothing.
func (b *Broker) Freeze(tb testing.TB) { b.signal(tb, syscall.SIGSTOP) }

// Thaw is SIGCONT.
func (b *Broker) Thaw(tb testing.TB) { b.signal(tb, syscall.SIGCONT) }

func (b *Broker) signal(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	if err := b.cmd.Process.Signal(sig); err != nil {
		tb.Fatalf("%v to %s: %v", sig, b.name(), err)
	}
}

// Done is closed when the process has ended.
func (b *Broker) Done() <-chan struct{} { return b.done }

// moldauBinary is built once for all brokers of a test process. MOLDAU_BIN names a ready one.
var moldauBinary = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("MOLDAU_BIN"); bin != "" {
		return bin, nil
	}
	bin := filepath.Join(Cache(), "bin", "moldau")
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/moldau")
	cmd.Dir = Root()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/moldau: %w\n%s", err, out)
	}
	return bin, nil
})

// MoldauBinary is the program that is under test.
func MoldauBinary(tb testing.TB) string {
	tb.Helper()
	bin, err := moldauBinary()
	if err != nil {
		tb.Fatal(err)
	}
	return bin
}

func (b *Broker) moldauCommand(tb testing.TB) []string {
	tb.Helper()
	if b.Kind != Moldau {
		return nil
	}
	bin := cmp.Or(b.cfg.Binary, MoldauBinary(tb))
	argv := []string{bin, "serve", "--data", strings.Join(b.Dirs(), ","), "--listen", b.Addr,
		"--cluster-listen", b.local(1), "--admin-listen", b.local(2)}
	if len(b.cfg.seat.join) > 0 {
		argv = append(argv, "--join", strings.Join(b.cfg.seat.join, ","))
	}
	if b.cfg.seat.numbered {
		argv = append(argv, "--node-id", strconv.Itoa(b.cfg.seat.number))
	}
	argv = append(argv, b.cfg.Flags...)
	for k, v := range b.cfg.Properties {
		argv = append(argv, "--set", k+"="+v)
	}
	return argv
}

// Dirs are the data folders, DataDir first.
func (b *Broker) Dirs() []string { return append([]string{b.DataDir}, b.cfg.OtherDirs...) }

// AdminAddr is where moldau serves its metrics; empty for Kafka.
func (b *Broker) AdminAddr() string {
	if b.Kind != Moldau {
		return ""
	}
	return b.local(2)
}

// ClusterAddr is where the other brokers reach this one; empty for Kafka.
func (b *Broker) ClusterAddr() string {
	if b.Kind != Moldau {
		return ""
	}
	return b.local(1)
}

// Segments are the paths of a partition's log files, oldest first.
func (b *Broker) Segments(tb testing.TB, topic string, partition int) []string {
	tb.Helper()
	found, err := filepath.Glob(filepath.Join(b.DataDir, fmt.Sprintf("%s-%d", topic, partition), "*.log"))
	if err != nil || len(found) == 0 {
		tb.Fatalf("no segments of %s-%d in %s (%v)", topic, partition, b.DataDir, err)
	}
	return found
}

// stockProperties are those of Apache Kafka's own config/server.properties, for one node on loopback or one of a cluster.
func (b *Broker) stockProperties() string {
	listeners := fmt.Sprintf("PLAINTEXT://%s,CONTROLLER://%s", b.local(0), b.local(1))
	lines := []string{
		"process.roles=broker,controller",
		"node.id=" + strconv.Itoa(max(1, b.cfg.seat.number)),
		"controller.quorum.bootstrap.servers=" + cmp.Or(b.cfg.seat.controllers, b.local(1)),
		"listeners=" + listeners,
		"advertised.listeners=" + listeners,
		"inter.broker.listener.name=PLAINTEXT",
		"controller.listener.names=CONTROLLER",
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL," +
			"SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
		"num.network.threads=3",
		"num.io.threads=8",
		"socket.send.buffer.bytes=102400",
		"socket.receive.buffer.bytes=102400",
		"socket.request.max.bytes=104857600",
		"log.dirs=" + strings.Join(b.Dirs(), ","),
		"num.partitions=1",
		"num.recovery.threads.per.data.dir=1",
		"log.retention.hours=168",
		"log.segment.bytes=1073741824",
		"log.retention.check.interval.ms=300000",
	}
	if b.cfg.seat.number == 0 {
		lines = append(lines, "offsets.topic.replication.factor=1",
			"share.coordinator.state.topic.replication.factor=1",
			"share.coordinator.state.topic.min.isr=1",
			"transaction.state.log.replication.factor=1",
			"transaction.state.log.min.isr=1")
	}
	for k, v := range b.cfg.Properties {
		lines = append(lines, k+"="+v)
	}
	return strings.Join(lines, "\n") + "\n"
}
