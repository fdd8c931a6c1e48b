//go:build compat

package kcat

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/compat-tests/harness"
)

// TestC65_LibrdkafkaThatIsToldTheVersion: what its user says of the broker goes before what the broker says. A broker of 0.10
// or later is asked for its versions all the same, so that it gets through. With an older one it sends what Apache Kafka 4
// refuses too, and must come to an end of its own.
func TestC65_LibrdkafkaThatIsToldTheVersion(t *testing.T) {
	b := harness.Start(t, harness.Config{})
	kcat := func(fallback, input string, args ...string) harness.Result {
		argv := append([]string{"kcat", "-b", b.Addr, "-X", "api.version.request=false", "-X",
			"broker.version.fallback=" + fallback}, args...)
		return harness.RunIn(t, t.TempDir(), nil, 20*time.Second, input, argv...)
	}
	for _, fallback := range []string{"0.10.2", "0.11.0.0", "1.0.0"} {
		topic := "told-" + fallback
		var want strings.Builder
		for i := range 50 {
			fmt.Fprintf(&want, "%s record %d\n", fallback, i)
		}
		if r := kcat(fallback, "", "-L", "-t", topic, "-X", "allow.auto.create.topics=true"); r.Code != 0 {
			t.Errorf("%s: metadata: %s", fallback, r.Stderr)
		}
		for _, codec := range []string{"none", "gzip", "lz4"} {
			if r := kcat(fallback, want.String(), "-P", "-t", topic, "-z", codec, "-X", "acks=all"); r.Code != 0 {
				t.Errorf("%s: produce %s: %s", fallback, codec, r.Stderr)
			}
		}
		r := kcat(fallback, "", "-C", "-t", topic, "-o", "beginning", "-e", "-q")
		if r.Code != 0 || r.Stdout != strings.Repeat(want.String(), 3) {
			t.Errorf("%s: exit code %d, %d bytes read, want %d: %s", fallback, r.Code, len(r.Stdout), 3*want.Len(), r.Stderr)
		}
	}
	r := kcat("0.9.0.1", "x\n", "-P", "-t", "told-1.0.0", "-X", "message.timeout.ms=2000")
	if r.Code == 0 {
		t.Errorf("0.9.0.1: its message sets were taken: %s", r.Stderr)
	}
}
