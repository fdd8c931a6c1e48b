package batch

import (
	"fmt"
	"strings"

	"moldau.io/moldau/protocol"
)

// RejectError says why a leader does not take a client's batch. It wraps its Code.
type RejectError struct {
	Code protocol.Code
	// Message is Kafka's text. Kafka sends it as the partition's error_message only where there are Records, and logs it
	// otherwise.
	Message string
	// Records are the records at fault (KIP-467, record_errors from Produce v8 on), at most RecordErrorsMax of them.
	Records []RecordError
}

// RecordError is one record at fault: its index in the batch, from 0, and Kafka's text.
type RecordError struct {
	Index   int32
	Message string
}

// RecordErrorsMax bounds RejectError.Records. Kafka lists every record, which lets seven bytes sent cost a hundred in the
// answer; clients treat the records that are not listed as failed because of the others anyway.
const RecordErrorsMax = 1000

func (e *RejectError) Error() string { return e.Message }
func (e *RejectError) Unwrap() error { return e.Code }

func reject(c protocol.Code, format string, args ...any) *RejectError {
	return &RejectError{Code: c, Message: fmt.Sprintf(format, args...)}
}

// faults collects records at fault.
type faults struct {
	list    []RecordError
	count   int
	badTime bool
}

func (f *faults) add(index int, message string) {
	f.count++
	if len(f.list) < RecordErrorsMax {
		f.list = append(f.list, RecordError{int32(index), message})
	}
}

// reject is nil where there is no fault. One bad timestamp makes the whole an INVALID_TIMESTAMP.
func (f *faults) reject() error {
	switch {
	case f.count == 0:
		return nil
	case f.badTime:
		return &RejectError{protocol.InvalidTimestamp,
			"One or more records have been rejected due to invalid timestamp", f.list}
	}
	var first []string
	for _, e := range f.list[:min(3, len(f.list))] {
		first = append(first, fmt.Sprintf("RecordError(batchIndex=%d, message='%s')", e.Index, e.Message))
	}
	return &RejectError{protocol.InvalidRecord, fmt.Sprintf("One or more records have been rejected due to %d record "+
		"errors in total, and only showing the first three errors at most: [%s]", f.count, strings.Join(first, ", ")), f.list}
}
