//go:build compat

// Package confluentkafka runs the Python client confluent-kafka.
package confluentkafka

import (
	"testing"

	"moldau.io/moldau/compat-tests/harness"
)

func TestClient(t *testing.T) {
	harness.RunClient(t, "confluent-kafka", harness.Python(), "client.py")
}
