package link

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// describeStranger says what the first bytes of a connection that is none of ours look like.
func describeStranger(b []byte) string {
	for _, method := range []string{"GET ", "POST", "HEAD", "PUT ", "OPTI", "DELE", "PRI "} {
		if bytes.HasPrefix(b, []byte(method)) {
			return "an HTTP client"
		}
	}
	switch {
	case bytes.HasPrefix(b, []byte("HTTP/")):
		return "an HTTP server"
	case bytes.HasPrefix(b, []byte("SSH-")):
		return "an SSH server"
	case len(b) >= 3 && b[0] == 0x16 && b[1] == 3:
		return "a TLS client"
	case len(b) >= 2 && b[0] == 0x15 && b[1] == 3:
		return "a TLS server"
	case kafkaRequest(b):
		return "a Kafka client"
	case bytes.HasPrefix(b, []byte(magic)):
		return "a broker of an unknown build"
	}
	return fmt.Sprintf("unknown (it began with %q)", b[:min(len(b), 8)])
}

// kafkaRequest: a length of less than 1 MiB, then an API key and a version that are small.
func kafkaRequest(b []byte) bool {
	if len(b) < 4 || b[0] != 0 || b[1] > 0x0f {
		return false
	}
	return len(b) < 8 || binary.BigEndian.Uint16(b[4:]) < 1000 && binary.BigEndian.Uint16(b[6:]) < 50
}

// sendAway tells a stranger where it is, in its own tongue where that is easy.
func sendAway(began []byte) []byte {
	if describeStranger(began) != "an HTTP client" {
		return nil
	}
	const text = "This is the cluster address of a moldau broker, where only brokers talk. " +
		"The console and /metrics are at its --admin-listen address.\n"
	return fmt.Appendf(nil, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"+
		"Connection: close\r\n\r\n%s", len(text), text)
}
