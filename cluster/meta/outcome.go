package meta

import "moldau.io/moldau/protocol"

// Outcome is an error as it travels between brokers: the code and the words that a client is told. The zero Outcome is
// success. Replies carry it in place of an error, so that a reply to a forwarded command says what one at home says.
type Outcome struct {
	Code protocol.Code
	Text string
}

// OutcomeOf is the Outcome that says what err does.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return Outcome{}
	}
	return Outcome{Code: protocol.CodeOf(err), Text: err.Error()}
}

// Err is the error, nil for success.
func (o Outcome) Err() error {
	switch {
	case o.Code == protocol.None:
		return nil
	case o.Text == "" || o.Text == o.Code.Error():
		return o.Code
	}
	return protocol.Errorf(o.Code, "%s", o.Text)
}
