package compress

import (
	"fmt"
	"strconv"
)

// Codec is a compression codec by Kafka's number, as it stands in the lowest three bits of a batch's attributes.
type Codec int8

// The codecs. The numbers 5 to 7 can be written in a batch but mean nothing.
const (
	None   Codec = 0
	Gzip   Codec = 1
	Snappy Codec = 2
	LZ4    Codec = 3
	Zstd   Codec = 4
)

var codecNames = [...]string{None: "none", Gzip: "gzip", Snappy: "snappy", LZ4: "lz4", Zstd: "zstd"}

// Valid says whether c is one of the five codecs.
func (c Codec) Valid() bool { return c >= None && c <= Zstd }

// String is Kafka's name of the codec, as in compression.type. The name of none is "none" here, while the topic property
// compression.type says "uncompressed".
func (c Codec) String() string {
	if c.Valid() {
		return codecNames[c]
	}
	return "codec " + strconv.Itoa(int(c))
}

// ParseCodec is the codec called name: none, uncompressed, gzip, snappy, lz4 or zstd.
func ParseCodec(name string) (Codec, error) {
	if name == "uncompressed" {
		return None, nil
	}
	for c, n := range codecNames {
		if n == name {
			return Codec(c), nil
		}
	}
	return None, fmt.Errorf("compression codec %q is not one of none, gzip, snappy, lz4, zstd", name)
}
