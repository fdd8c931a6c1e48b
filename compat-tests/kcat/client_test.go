//go:build compat

// Package kcat runs the command line client kcat.
package kcat

import (
	"testing"

	"moldau.io/moldau/compat-tests/harness"
)

func TestClient(t *testing.T) {
	harness.RunClient(t, "kcat", "bash", "client.sh")
}
