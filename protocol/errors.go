package protocol

import (
	"errors"
	"fmt"
	"strconv"
)

// Code is a Kafka error code. It is an error, so that a core can return it and a handler can send it.
type Code int16

func (c Code) row() (codeRow, bool) {
	if i := int(c) + 1; i >= 0 && i < len(codeRows) {
		return codeRows[i], true
	}
	return codeRow{}, false
}

// Error is Kafka's name of the code, such as UNKNOWN_TOPIC_OR_PARTITION.
func (c Code) Error() string {
	if r, ok := c.row(); ok {
		return r.name
	}
	return "UNKNOWN_CODE_" + strconv.Itoa(int(c))
}

// Message says in one sentence what went wrong. It is what a client is shown where a response has room for a message and
// there is nothing more precise to say.
func (c Code) Message() string {
	if r, ok := c.row(); ok {
		return r.message
	}
	return "The code is not one of Kafka's."
}

// Retriable says whether clients send the same request again on their own after this code.
func (c Code) Retriable() bool {
	r, _ := c.row()
	return r.retriable
}

// CodeOf is the code that a client is sent for err: the Code that err wraps, None for nil, UnknownServerError for an
// error without one.
func CodeOf(err error) Code {
	if err == nil {
		return None
	}
	var c Code
	if errors.As(err, &c) {
		return c
	}
	return UnknownServerError
}

// Errorf makes an error that wraps c and has a text of its own, which goes to the client as the error message.
func Errorf(c Code, format string, a ...any) error {
	return &codedError{code: c, text: fmt.Sprintf(format, a...)}
}

// codedError is a Code with a text that says more than the code does.
type codedError struct {
	code Code
	text string
}

func (e *codedError) Error() string { return e.text }

func (e *codedError) Unwrap() error { return e.code }
