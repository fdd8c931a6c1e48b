//go:build compat

// Package java runs the Java client of Apache Kafka 3.9.
package java

import (
	"testing"

	"moldau.io/moldau/compat-tests/harness"
)

func TestClient(t *testing.T) {
	classPath := harness.JavaBuild(t, "compat-tests/java", "java-3.9")
	harness.RunClient(t, "java-3.9", harness.Java(classPath, "CompatClient")...)
}
