//go:build compat

package main

import (
	"testing"

	"moldau.io/moldau/compat-tests/harness"
)

func TestClient(t *testing.T) {
	harness.RunClient(t, "kafka-go", harness.GoBuild(t, "compat-tests/kafka-go"))
}
