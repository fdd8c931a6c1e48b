package storage

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

const (
	metaFile      = "meta.properties"
	metaVersion   = "1"
	partitionFile = "partition.metadata"
	cleanFile     = ".kafka_cleanshutdown"
	lockFile      = ".lock"
)

// Meta is a data folder's meta.properties.
type Meta struct {
	ClusterID   string
	NodeID      int32 // -1 when the file does not say
	DirectoryID string
}

// NewID is a random 16-byte id in Kafka's notation: 22 characters of URL-safe base64 that do not begin with a dash,
// which command lines would take for an option.
func NewID() string {
	var b [16]byte
	for {
		_, _ = rand.Read(b[:]) // never fails
		if s := base64.RawURLEncoding.EncodeToString(b[:]); s[0] != '-' {
			return s
		}
	}
}

// ReadMeta reads a folder's meta.properties. found is false when there is none.
func ReadMeta(fsys vfs.FS, dir string) (m Meta, found bool, err error) {
	name := path.Join(dir, metaFile)
	b, err := vfs.ReadFile(fsys, name, smallFileMax)
	if errors.Is(err, fs.ErrNotExist) {
		return Meta{}, false, nil
	}
	if err != nil {
		return Meta{}, false, err
	}
	if m, err = parseMeta(b); err != nil {
		return Meta{}, false, &UnusableError{
			Path: name,
			What: "is not a data folder's description",
			Do:   "Restore the file, or point to another folder if this one is not a broker's.",
			Err:  err,
		}
	}
	return m, true, nil
}

func parseMeta(b []byte) (Meta, error) {
	props := map[string]string{}
	sc := bufio.NewScanner(bytes.NewReader(b))
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		k, v, _ := strings.Cut(line, "=")
		props[strings.TrimSpace(k)] = strings.ReplaceAll(strings.TrimSpace(v), `\`, "")
	}
	if err := sc.Err(); err != nil {
		return Meta{}, err
	}
	if v := props["version"]; v != metaVersion {
		return Meta{}, fmt.Errorf("version %.20q, only %s is supported", v, metaVersion)
	}
	m := Meta{ClusterID: props["cluster.id"], NodeID: -1, DirectoryID: props["directory.id"]}
	if v, ok := props["node.id"]; ok {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || n < 0 {
			return Meta{}, fmt.Errorf("node.id %.20q is not a number from 0 on", v)
		}
		m.NodeID = int32(n)
	}
	if m.ClusterID == "" {
		return Meta{}, errors.New("cluster.id is missing")
	}
	return m, nil
}

func (m Meta) encode() []byte {
	return fmt.Appendf(nil, "#\ncluster.id=%s\ndirectory.id=%s\nnode.id=%d\nversion=%s\n",
		m.ClusterID, m.DirectoryID, m.NodeID, metaVersion)
}

// checkMeta takes the folder's description, or writes one; a folder of another cluster or node is refused.
func checkMeta(fsys vfs.FS, dir string, o Options) (Meta, error) {
	clusterID, nodeID := o.ClusterID, o.NodeID
	m, found, err := ReadMeta(fsys, dir)
	if err != nil {
		return m, err
	}
	if !found {
		m = Meta{NodeID: -1}
	}
	name := path.Join(dir, metaFile)
	switch {
	case found && m.ClusterID != clusterID:
		return m, &UnusableError{
			Path: name,
			What: fmt.Sprintf("belongs to the cluster %s, this broker to %s", m.ClusterID, clusterID),
			Do:   "Start with the data folder of this cluster, or with an empty one.",
		}
	case m.NodeID >= 0 && m.NodeID != nodeID:
		return m, &UnusableError{
			Path: name,
			What: fmt.Sprintf("belongs to the node %d, this broker is %d", m.NodeID, nodeID),
			Do:   fmt.Sprintf("Start with node.id=%d, or with another data folder.", m.NodeID),
		}
	case found && m.NodeID >= 0 && m.DirectoryID != "":
		return m, nil
	}
	m.ClusterID, m.NodeID = clusterID, nodeID
	if m.DirectoryID == "" {
		m.DirectoryID = o.NewID()
	}
	return m, vfs.WriteFile(fsys, name, m.encode())
}

// partition.metadata names the topic's id: "version: 0", then "topic_id: " and the id.
func encodePartition(id protocol.TopicID) []byte {
	return fmt.Appendf(nil, "version: 0\ntopic_id: %s", id)
}

func parsePartition(b []byte) (protocol.TopicID, error) {
	version, rest, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	if strings.TrimSpace(version) != "version: 0" {
		return protocol.TopicID{}, fmt.Errorf("line 1: %.40q, only version 0 is known", version)
	}
	id, ok := strings.CutPrefix(strings.TrimSpace(rest), "topic_id: ")
	if !ok {
		return protocol.TopicID{}, fmt.Errorf("line 2: %.60q names no topic id", rest)
	}
	return protocol.ParseTopicID(id)
}

// parseDir splits a partition folder's name.
func parseDir(name string) (protocol.TopicPartition, bool) {
	dash := strings.LastIndexByte(name, '-')
	if dash <= 0 {
		return protocol.TopicPartition{}, false
	}
	p, err := strconv.ParseUint(name[dash+1:], 10, 31)
	if err != nil || strconv.FormatUint(p, 10) != name[dash+1:] {
		return protocol.TopicPartition{}, false
	}
	return protocol.TopicPartition{Topic: name[:dash], Partition: int32(p)}, true
}
