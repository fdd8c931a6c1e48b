//go:build compat

package differential

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/compat-tests/harness"
)

// A script asks questions of one broker. It runs once against each broker; what it sends may depend on ids it was told,
// never on which broker it talks to.
type script struct {
	name string
	run  func(s *session)
}

// A session is one run of a script against one broker: its connections, and the transcript of what came back.
type session struct {
	broker   *harness.Broker
	brokers  []*harness.Broker  // of a cluster, in the order of their ids from 1 on
	down     map[int]bool       // ids of those that do not run
	versions map[int16][2]int16 // per API key, as Apache Kafka announces them
	prefix   string             // of every topic and group name, so that scripts do not meet
	began    time.Time

	// anyPartition compares how many partitions a member has, not which: where ids that a broker has made decide.
	anyPartition bool

	conn  *harness.Conn
	steps []step
	names *placeholders
}

// A step is one question and what became of it.
type step struct {
	label  string
	fields map[string]string // the answer, flattened; nil when there was none
	answer []byte            // of raw
	fate   string            // "answer", "closed", "silent", or why the script gave up
}

// answerLimit is how long an answer may take. It only matters when one is missing.
const answerLimit = 30 * time.Second

// giveUp ends a script whose ground is missing, such as a topic that could not be made.
type giveUp struct{ why string }

func (s *session) fail(format string, args ...any) {
	panic(giveUp{fmt.Sprintf(format, args...)})
}

// play runs sc and returns its transcript.
func (s *session) play(sc script) (steps []step) {
	defer func() {
		if s.conn != nil {
			s.conn.Close()
		}
		if p := recover(); p != nil {
			g, ok := p.(giveUp)
			if !ok {
				panic(p)
			}
			steps = append(s.steps, step{label: "end of script", fate: "gave up: " + g.why})
		}
	}()
	sc.run(s)
	return s.steps
}

// name is a topic or group name that no other script uses.
func (s *session) name(suffix string) string { return s.prefix + "-" + suffix }

// each runs f for every version of an API.
func (s *session) each(key int16, f func(v int16)) {
	r, ok := s.versions[key]
	if !ok {
		s.fail("API %d is not announced", key)
	}
	for v := r[0]; v <= r[1]; v++ {
		f(v)
	}
}

// connect makes sure that there is a connection.
func (s *session) connect() *harness.Conn {
	if s.conn == nil {
		s.conn = s.dial()
	}
	return s.conn
}

func (s *session) dial() *harness.Conn {
	c, err := harness.Dial(s.broker.Addr)
	if err != nil {
		s.fail("connect: %v", err)
	}
	return c
}

// hangUp drops the session's connection, so that the next question uses a new one.
func (s *session) hangUp() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// ask sends req on the session's connection and writes the answer into the transcript. It returns nil when there was
// none. A connection that has been closed is replaced for the next question.
func (s *session) ask(label string, req kmsg.Request) kmsg.Response {
	resp, fate := s.exchange(req)
	st := step{label: fmt.Sprintf("%s: %s v%d", label, kmsg.NameForKey(req.Key()), req.GetVersion()), fate: fate}
	if resp != nil {
		st.fields = s.flatten(resp)
	}
	s.steps = append(s.steps, st)
	return resp
}

// askOnly is ask, with only left in the answer what keep leaves there: for answers that tell of the whole broker, of
// which a script knows its own part.
func (s *session) askOnly(label string, req kmsg.Request, keep func(kmsg.Response)) {
	resp, fate := s.exchange(req)
	st := step{label: fmt.Sprintf("%s: %s v%d", label, kmsg.NameForKey(req.Key()), req.GetVersion()), fate: fate}
	if resp != nil {
		keep(resp)
		st.fields = s.flatten(resp)
	}
	s.steps = append(s.steps, st)
}

// start sends req on a connection of its own, for requests that wait for another one. The answer is read and written
// into the transcript when the returned function is called.
func (s *session) start(label string, req kmsg.Request) (finish func() kmsg.Response) {
	c := s.dial()
	frame, correlation := c.Frame(req)
	if _, err := c.Write(frame); err != nil {
		s.fail("%s: %v", label, err)
	}
	return func() kmsg.Response {
		defer c.Close()
		st := step{label: fmt.Sprintf("%s: %s v%d", label, kmsg.NameForKey(req.Key()), req.GetVersion()), fate: "answer"}
		var resp kmsg.Response
		body, err := c.ReadFrame(answerLimit)
		if err == nil {
			if resp, err = harness.Decode(req, correlation, body); err == nil {
				st.fields = s.flatten(resp)
			}
		}
		if err != nil {
			st.fate = fateOf(err)
		}
		s.steps = append(s.steps, st)
		return resp
	}
}

// quiet is ask without the transcript, for what only prepares the ground.
func (s *session) quiet(req kmsg.Request) kmsg.Response {
	resp, _ := s.exchange(req)
	return resp
}

func (s *session) exchange(req kmsg.Request) (kmsg.Response, string) {
	c := s.connect()
	frame, correlation := c.Frame(req)
	if _, err := c.Write(frame); err != nil {
		s.hangUp()
		return nil, fateOf(err)
	}
	body, err := c.ReadFrame(answerLimit)
	if err != nil {
		s.hangUp()
		return nil, fateOf(err)
	}
	resp, err := harness.Decode(req, correlation, body)
	var length *harness.LengthError
	switch {
	case err == nil:
		return resp, "answer"
	case errors.As(err, &length):
		return resp, fmt.Sprintf("answer with %d odd bytes", length.Sent-length.Encoded)
	default:
		s.hangUp()
		return nil, "unreadable answer: " + err.Error()
	}
}

// fateOf says what a failed read or write means to a client.
func fateOf(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE):
		return "closed"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "silent"
	}
	return "broken: " + err.Error()
}

// raw sends bytes, whatever they are, on a connection of their own and writes down what comes back within the limit:
// the answers' bytes, silence, or a closed connection; and whether the connection still answers afterwards.
func (s *session) raw(label string, limit time.Duration, b []byte) {
	s.opaque(label, limit, b)
	st := &s.steps[len(s.steps)-1]
	if st.answer != nil {
		st.fields["bytes"] = fmt.Sprintf("%x", st.answer)
	}
}

// opaque is raw without the bytes of the answer, where they tell about the whole broker.
func (s *session) opaque(label string, limit time.Duration, b []byte) {
	c := s.dial()
	defer c.Close()
	st := step{label: label, fields: map[string]string{}}
	if _, err := c.Write(b); err != nil {
		st.fate = fateOf(err)
		s.steps = append(s.steps, st)
		return
	}
	body, err := c.ReadFrame(limit)
	if err != nil {
		st.fate = fateOf(err)
	} else {
		st.fate = "answer"
		st.answer = body
		st.fields["then"] = s.alive(c)
	}
	s.steps = append(s.steps, st)
}

// alive says whether c still answers ApiVersions.
func (s *session) alive(c *harness.Conn) string {
	req := kmsg.NewPtrApiVersionsRequest()
	if _, err := c.Ask(req, answerLimit); err != nil {
		return fateOf(err)
	}
	return "alive"
}

// noAnswer sends req, which is to get no answer, followed by ApiVersions, and writes down which of the two is answered
// first.
func (s *session) noAnswer(label string, req kmsg.Request) {
	c := s.dial()
	defer c.Close()
	frame, _ := c.Frame(req)
	probe := kmsg.NewPtrApiVersionsRequest()
	second, correlation := c.Frame(probe)
	st := step{label: fmt.Sprintf("%s: %s v%d", label, kmsg.NameForKey(req.Key()), req.GetVersion())}
	if _, err := c.Write(append(frame, second...)); err != nil {
		st.fate = fateOf(err)
	} else if body, err := c.ReadFrame(answerLimit); err != nil {
		st.fate = fateOf(err)
	} else if int32(binary.BigEndian.Uint32(body)) == correlation {
		st.fate = "no answer"
	} else {
		st.fate = "answer"
	}
	s.steps = append(s.steps, st)
}

// note writes something that the script has worked out itself into the transcript.
func (s *session) note(label, text string) {
	s.steps = append(s.steps, step{label: label, fate: "note", fields: map[string]string{"text": s.mask(text)}})
}

// until repeats a question until ok, for what takes a moment to become visible.
func (s *session) until(what string, req kmsg.Request, ok func(kmsg.Response) bool) kmsg.Response {
	deadline := time.Now().Add(answerLimit)
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	var last kmsg.Response
	for time.Now().Before(deadline) {
		if last = s.quiet(req); last != nil && ok(last) {
			return last
		}
		<-pause.C
	}
	s.fail("%s: not seen in %v; last answer: %s", what, answerLimit, strings.Join(sorted(s.flattenOrNil(last)), " "))
	return nil
}
