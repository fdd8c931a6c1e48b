//go:build compat

// Package java runs the Java client of Apache Kafka 4.4.
package java

import (
	"testing"

	"moldau.io/moldau/compat-tests/harness"
)

func TestClient(t *testing.T) {
	classPath := harness.JavaBuild(t, "compat-tests/java", "java-4.4")
	harness.RunClient(t, "java-4.4", harness.Java(classPath, "CompatClient")...)
}
