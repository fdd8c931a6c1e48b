//go:build compat

// Package aiokafka runs the Python client aiokafka.
package aiokafka

import (
	"testing"

	"moldau.io/moldau/compat-tests/harness"
)

func TestClient(t *testing.T) {
	harness.RunClient(t, "aiokafka", harness.Python(), "client.py")
}
