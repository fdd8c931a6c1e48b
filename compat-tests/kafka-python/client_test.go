//go:build compat

// Package kafkapython runs the Python client kafka-python.
package kafkapython

import (
	"testing"

	"moldau.io/moldau/compat-tests/harness"
)

func TestClient(t *testing.T) {
	harness.RunClient(t, "kafka-python", harness.Python(), "client.py")
}
