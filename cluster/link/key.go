package link

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

// ParseKey reads a cluster key (moldau.gossip.key): 16, 24 or 32 bytes in base64. Empty text is no key.
func ParseKey(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		key, err = base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	}
	if err == nil {
		err = checkKey(key)
	}
	if err != nil {
		return nil, fmt.Errorf("moldau.gossip.key must be 16, 24 or 32 bytes in base64 "+
			"(`head -c 32 /dev/urandom | base64` makes one, the same for all brokers): %w", err)
	}
	return key, nil
}

func checkKey(key []byte) error {
	switch len(key) {
	case 0, 16, 24, 32:
		return nil
	}
	return fmt.Errorf("it has %d bytes", len(key))
}

// presharedKey is what the handshake uses of a key: the key itself is memberlist's.
func presharedKey(key []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, key, nil, "moldau cluster link, version 1", 32)
}
