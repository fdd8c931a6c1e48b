package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/inspect"
)

// line is one thing that `moldau log dump` prints: an object as JSON, or a text.
type line interface{ text() string }

// linePrinter prints lines as they come, so that a folder of any size needs no memory.
type linePrinter struct {
	w    *bufio.Writer
	json *json.Encoder // nil for text
}

func newLinePrinter(w io.Writer, o output) *linePrinter {
	p := &linePrinter{w: bufio.NewWriter(w)}
	if o == outputJSON {
		p.json = json.NewEncoder(p.w)
		p.json.SetEscapeHTML(false)
	}
	return p
}

func (p *linePrinter) print(l line) error {
	if p.json != nil {
		return p.json.Encode(l)
	}
	_, err := p.w.WriteString(l.text() + "\n")
	return err
}

func (p *linePrinter) flush() error { return p.w.Flush() }

// lineType is the field by which programs tell the lines apart.
type lineType struct {
	Type string `json:"type"`
}

type fileLine struct {
	lineType
	File  string `json:"file"`
	Kind  string `json:"kind"`
	Bytes int64  `json:"bytes"`
}

func (l fileLine) text() string { return fmt.Sprintf("%s: %s, %d bytes", l.File, l.Kind, l.Bytes) }

type damageLine struct {
	lineType
	Position int64  `json:"position"`
	Bytes    int64  `json:"bytes"`
	What     string `json:"what"`
}

func (l damageLine) text() string {
	return fmt.Sprintf("  DAMAGE at byte %d, %d bytes: %s", l.Position, l.Bytes, l.What)
}

type batchLine struct {
	lineType
	Position      int64           `json:"position"`
	Bytes         int64           `json:"bytes"`
	First         protocol.Offset `json:"base_offset"`
	Last          protocol.Offset `json:"last_offset"`
	Count         int32           `json:"count"`
	Epoch         protocol.Epoch  `json:"leader_epoch"`
	Producer      int64           `json:"producer_id"`
	ProducerEpoch int16           `json:"producer_epoch"`
	FirstSequence int32           `json:"base_sequence"`
	LastSequence  int32           `json:"last_sequence"`
	Codec         string          `json:"codec"`
	TimeType      string          `json:"timestamp_type"`
	BaseTime      int64           `json:"base_timestamp"`
	MaxTime       int64           `json:"max_timestamp"`
	Horizon       *int64          `json:"delete_horizon,omitempty"`
	Transactional bool            `json:"transactional"`
	IsControl     bool            `json:"is_control"`
	Control       *inspect.Marker `json:"control,omitempty"`
	CRC           uint32          `json:"crc"`
	Valid         bool            `json:"valid"`
	Damage        string          `json:"damage,omitempty"`
	Note          string          `json:"note,omitempty"`
}

func newBatchLine(p inspect.Piece) *batchLine {
	h := p.Head
	l := &batchLine{
		lineType: lineType{"batch"}, Position: p.Position, Bytes: p.Bytes, First: h.BaseOffset(), Last: h.LastOffset(),
		Count: h.Count(), Epoch: h.LeaderEpoch(), Producer: h.ProducerID(), ProducerEpoch: h.ProducerEpoch(),
		FirstSequence: h.BaseSequence(), LastSequence: h.LastSequence(), Codec: h.Codec().String(), TimeType: "CreateTime",
		BaseTime: h.BaseTimestamp(), MaxTime: h.MaxTimestamp(), Transactional: h.IsTransactional(),
		IsControl: h.IsControl(), CRC: h.CRC(), Valid: p.Damage == nil,
	}
	if h.IsLogAppendTime() {
		l.TimeType = "LogAppendTime"
	}
	if h.HasDeleteHorizon() {
		ms := h.BaseTimestamp()
		l.Horizon = &ms
	}
	if p.Damage != nil {
		l.Damage = p.Damage.Error()
	}
	return l
}

func (l *batchLine) text() string {
	var s strings.Builder
	fmt.Fprintf(&s, "  batch %d..%d count=%d epoch=%d", l.First, l.Last, l.Count, l.Epoch)
	if l.Producer >= 0 {
		fmt.Fprintf(&s, " producer=%d/%d seq=%d..%d", l.Producer, l.ProducerEpoch, l.FirstSequence, l.LastSequence)
	}
	fmt.Fprintf(&s, " codec=%s %s=%s", l.Codec, l.TimeType, timeText(l.MaxTime))
	if l.Horizon != nil {
		fmt.Fprintf(&s, " delete-horizon=%s", timeText(*l.Horizon))
	}
	if l.Transactional {
		s.WriteString(" transactional")
	}
	if l.IsControl {
		s.WriteString(" control")
	}
	if l.Control != nil {
		fmt.Fprintf(&s, "=%s", l.Control.Kind)
		if l.Control.CoordinatorEpoch != nil {
			fmt.Fprintf(&s, " coordinator-epoch=%d", *l.Control.CoordinatorEpoch)
		}
	}
	fmt.Fprintf(&s, " crc=%08x position=%d size=%d", l.CRC, l.Position, l.Bytes)
	if l.Damage != "" {
		s.WriteString(" DAMAGE: " + l.Damage)
	}
	if l.Note != "" {
		s.WriteString(" (" + l.Note + ")")
	}
	return s.String()
}

// timeText is a timestamp as people read it.
func timeText(ms int64) string {
	if ms < 0 || ms > 253402300799999 { // the year 9999, where the notation ends
		return strconv.FormatInt(ms, 10)
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// blob is bytes of a stranger's: text where they are printable, else base64.
type blob struct {
	Text   *string `json:"text,omitempty"`
	Base64 *string `json:"base64,omitempty"`
}

func newBlob(b []byte) *blob {
	if b == nil {
		return nil
	}
	if printable(b) {
		s := string(b)
		return &blob{Text: &s}
	}
	s := base64.StdEncoding.EncodeToString(b)
	return &blob{Base64: &s}
}

// printable says whether bytes can go to a terminal as they are.
func printable(b []byte) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n < 2 || !unicode.IsPrint(r) {
			return false
		}
		b = b[n:]
	}
	return true
}

func (b *blob) String() string {
	switch {
	case b == nil:
		return "null"
	case b.Text != nil:
		return strconv.Quote(*b.Text)
	}
	return "base64:" + *b.Base64
}

type recordLine struct {
	lineType
	Offset   protocol.Offset `json:"offset"`
	Time     int64           `json:"timestamp"`
	Sequence int32           `json:"sequence"`
	Key      *blob           `json:"key"`
	Value    *blob           `json:"value"`
	Headers  []headerLine    `json:"headers,omitempty"`
	Decoded  any             `json:"decoded,omitempty"`
}

type headerLine struct {
	Key   *blob `json:"key"`
	Value *blob `json:"value"`
}

func newRecordLine(offset protocol.Offset, b batch.Batch, r batch.Record) *recordLine {
	l := &recordLine{
		lineType: lineType{"record"}, Offset: offset, Time: b.Timestamp(r), Sequence: -1,
		Key: newBlob(r.Key), Value: newBlob(r.Value),
	}
	if base := b.BaseSequence(); base >= 0 {
		l.Sequence = int32((int64(base) + int64(r.OffsetDelta)) & 0x7fffffff)
	}
	for k, v := range r.Headers.All() {
		l.Headers = append(l.Headers, headerLine{newBlob(k), newBlob(v)})
	}
	return l
}

func (l *recordLine) text() string {
	var s strings.Builder
	fmt.Fprintf(&s, "    %d %s", l.Offset, timeText(l.Time))
	if l.Decoded != nil {
		text, err := json.Marshal(l.Decoded)
		if err == nil {
			s.WriteString(" " + string(text))
			return s.String()
		}
	}
	fmt.Fprintf(&s, " key=%s value=%s", l.Key, l.Value)
	for _, h := range l.Headers {
		fmt.Fprintf(&s, " header %s=%s", h.Key, h.Value)
	}
	return s.String()
}

type offsetLine struct {
	lineType
	Offset   protocol.Offset `json:"offset"`
	Position int64           `json:"position"`
}

func (l offsetLine) text() string {
	return fmt.Sprintf("  offset %d position %d", l.Offset, l.Position)
}

type timeLine struct {
	lineType
	Time   int64           `json:"timestamp"`
	Offset protocol.Offset `json:"offset"`
}

func (l timeLine) text() string {
	return fmt.Sprintf("  time %s offset %d", timeText(l.Time), l.Offset)
}

type txnLine struct {
	lineType
	Version    int16           `json:"version"`
	Producer   int64           `json:"producer_id"`
	First      protocol.Offset `json:"first_offset"`
	Last       protocol.Offset `json:"last_offset"`
	LastStable protocol.Offset `json:"last_stable_offset"`
}

func (l txnLine) text() string {
	return fmt.Sprintf("  aborted producer=%d first=%d last=%d last-stable=%d", l.Producer, l.First, l.Last, l.LastStable)
}

type restLine struct {
	lineType
	Bytes int64  `json:"bytes"`
	What  string `json:"what"`
}

func (l restLine) text() string {
	return fmt.Sprintf("  %d bytes behind the last entry: %s", l.Bytes, l.What)
}

// smallLine is one line of a small file: its fields in order.
type smallLine inspect.Fields

func (l smallLine) text() string {
	var s strings.Builder
	s.WriteString(" ")
	for _, f := range l.List {
		fmt.Fprintf(&s, " %s=%v", f.Name, f.Value)
	}
	return s.String()
}

// MarshalJSON writes the fields in their order.
func (l smallLine) MarshalJSON() ([]byte, error) {
	b := append([]byte(`{"type":`), strconv.Quote(l.Type)...)
	for _, f := range l.List {
		v, err := json.Marshal(f.Value)
		if err != nil {
			return nil, err
		}
		b = append(b, ',')
		b = strconv.AppendQuote(b, f.Name)
		b = append(b, ':')
		b = append(b, v...)
	}
	return append(b, '}'), nil
}
