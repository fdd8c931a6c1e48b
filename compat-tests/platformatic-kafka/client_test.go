//go:build compat

// Package platformatickafka runs the Node client @platformatic/kafka.
package platformatickafka

import (
	"testing"

	"moldau.io/moldau/compat-tests/harness"
)

func TestClient(t *testing.T) {
	harness.RunClient(t, "platformatic-kafka", harness.Node(), "client.cjs")
}
