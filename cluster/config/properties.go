package config

import (
	"fmt"

	"github.com/magiconair/properties"
)

// ParseProperties reads the text of a server.properties: Java's format with its comments, continuation lines and
// escapes, in UTF-8. Values are taken as they stand; nothing is put in for ${...}, since a broker that quietly resolved
// files or variables would give away what they hold to whoever may describe its configuration (CVE-2024-31141).
func ParseProperties(text []byte) (map[string]string, error) {
	loader := properties.Loader{Encoding: properties.UTF8, DisableExpansion: true}
	p, err := loader.LoadBytes(text)
	if err != nil {
		return nil, fmt.Errorf("not in the format of Java properties: %w", err)
	}
	return p.Map(), nil
}
