//go:build compat

// Package kafkajs runs the Node client kafkajs.
package kafkajs

import (
	"testing"

	"moldau.io/moldau/compat-tests/harness"
)

func TestClient(t *testing.T) {
	harness.RunClient(t, "kafkajs", harness.Node(), "client.cjs")
}
