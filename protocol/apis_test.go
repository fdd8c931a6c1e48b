package protocol

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"
)

func TestTheAPITableAgreesWithKmsg(t *testing.T) {
	if !slices.IsSortedFunc(APIs(), func(a, b API) int { return int(a.Key) - int(b.Key) }) {
		t.Error("not sorted by key")
	}
	for _, a := range APIs() {
		req := a.New()
		if req.Key() != a.Key || req.MaxVersion() < a.Max {
			t.Errorf("%s: kmsg says key %d, up to version %d", a.Name, req.Key(), req.MaxVersion())
		}
		for v := int16(0); v <= a.Max; v++ {
			req.SetVersion(v)
			if req.IsFlexible() != a.Flexible(v) {
				t.Errorf("%s version %d: flexible %t", a.Name, v, a.Flexible(v))
			}
		}
		if got, ok := Lookup(a.Key); !ok || got.Name != a.Name {
			t.Errorf("Lookup(%d) is %q %t", a.Key, got.Name, ok)
		}
		if skimTable[a.Key] == nil {
			t.Errorf("%s has no layout: run go generate", a.Name)
		}
	}
	for _, key := range []int16{-1, 4, 17, 52, 76, 1000} {
		if a, ok := Lookup(key); ok {
			t.Errorf("Lookup(%d) found %s", key, a.Name)
		}
	}
}

// TestRule004: librdkafka takes a broker that does not name Produce version 0 for one that cannot compress.
func TestRule004_ProduceIsAdvertisedFromZero(t *testing.T) {
	for _, a := range APIs() {
		want := a.Min
		if a.Name == "Produce" {
			want = 0
		}
		if a.AdvertisedMin != want {
			t.Errorf("%s is advertised from %d", a.Name, a.AdvertisedMin)
		}
	}
	produce, _ := Lookup(0)
	if produce.Supports(2) || !produce.Supports(3) {
		t.Error("Produce is answered from version 3 on")
	}
}

func TestCodesHaveNamesAndMessages(t *testing.T) {
	seen := map[string]bool{}
	for c := UnknownServerError; c <= ControllerIDNotRegistered; c++ {
		name, message := c.Error(), c.Message()
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r != '_' && !unicode.IsUpper(r) }) {
			t.Errorf("code %d is called %q", c, name)
		}
		if !strings.HasSuffix(message, ".") || seen[message] || seen[name] {
			t.Errorf("code %d says %q", c, message)
		}
		seen[message], seen[name] = true, true
	}
	for c, want := range map[Code]string{
		-1: "UNKNOWN_SERVER_ERROR", 0: "NONE", 3: "UNKNOWN_TOPIC_OR_PARTITION", 35: "UNSUPPORTED_VERSION",
		87: "INVALID_RECORD", 100: "UNKNOWN_TOPIC_ID", 136: "CONTROLLER_ID_NOT_REGISTERED", 137: "UNKNOWN_CODE_137",
	} {
		if c.Error() != want {
			t.Errorf("code %d is %s, want %s", c, c.Error(), want)
		}
	}
	retriable := 0
	for c := UnknownServerError; c <= ControllerIDNotRegistered; c++ {
		if c.Retriable() {
			retriable++
		}
	}
	if retriable != 32 || !NotLeaderOrFollower.Retriable() || RebalanceInProgress.Retriable() || Code(500).Retriable() {
		t.Errorf("%d codes are retriable", retriable)
	}
}

func TestCodeOf(t *testing.T) {
	own := Errorf(InvalidConfig, "the value %q is bad", "x")
	for _, c := range []struct {
		err  error
		want Code
	}{
		{nil, None},
		{errors.New("disk"), UnknownServerError},
		{InvalidTopicException, InvalidTopicException},
		{fmt.Errorf("append: %w", NotLeaderOrFollower), NotLeaderOrFollower},
		{own, InvalidConfig},
		{fmt.Errorf("topic: %w", own), InvalidConfig},
		{&UnsupportedError{1, 2}, UnsupportedVersion},
	} {
		if got := CodeOf(c.err); got != c.want {
			t.Errorf("CodeOf(%v) is %v, want %v", c.err, got, c.want)
		}
	}
	if own.Error() != `the value "x" is bad` {
		t.Errorf("the text is %q", own.Error())
	}
}
