package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"moldau.io/moldau/storage/inspect"
	"moldau.io/moldau/storage/vfs"
)

// compareReplicas compares the folders of several brokers. Several folders of one broker are one argument, with commas.
func compareReplicas(w world, p *linePrinter, brokers []string) error {
	if len(brokers) < 2 {
		return usageErrorf("--replicas compares the folders of two brokers or more; those of one broker are joined by commas")
	}
	var dirs [][]string
	for _, b := range brokers {
		var one []string
		for _, d := range strings.Split(b, ",") {
			one = append(one, filepath.ToSlash(filepath.Clean(d)))
		}
		dirs = append(dirs, one)
	}
	var failed error
	c := &inspect.Comparer{
		FS: vfs.ReadOnly(),
		Report: func(d inspect.Difference) {
			failed = errors.Join(failed, p.print(differenceLine{lineType{"difference"}, d}), p.flush())
		},
		Progress: sayProgress(w, "%d MiB compared\n"),
	}
	sum, err := c.Compare(dirs)
	if err := errors.Join(err, failed); err != nil {
		return errors.Join(dataErrorf("cannot compare the folders: %w", err), p.flush())
	}
	if err := errors.Join(p.print(comparedLine{lineType{"compared"}, len(brokers), sum}), p.flush()); err != nil {
		return err
	}
	if sum.Differences > 0 {
		return fmt.Errorf("the replicas are not equal: %d differences, %d of them replicas that are behind", sum.Differences,
			sum.Behind)
	}
	return nil
}

type differenceLine struct {
	lineType
	inspect.Difference
}

func (l differenceLine) text() string {
	word := "DIFFERENT"
	if l.Behind {
		word = "behind"
	}
	at := ""
	if l.Offset >= 0 {
		at = fmt.Sprintf(", offset %d", l.Offset)
	}
	return fmt.Sprintf("%s: %v of %s and %s%s: %s", word, l.Partition, l.Folders[0], l.Folders[1], at, l.What)
}

// MarshalJSON names the fields as the other lines do.
func (l differenceLine) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Type      string    `json:"type"`
		Topic     string    `json:"topic"`
		Partition int32     `json:"partition"`
		Folders   [2]string `json:"folders"`
		Offset    int64     `json:"offset"`
		Behind    bool      `json:"behind"`
		What      string    `json:"what"`
	}{l.Type, l.Difference.Partition.Topic, l.Difference.Partition.Partition, l.Folders, int64(l.Offset), l.Behind, l.What})
}

type comparedLine struct {
	lineType
	brokers int
	sum     inspect.Compared
}

func (l comparedLine) text() string {
	verdict := "all replicas are equal"
	if l.sum.Differences > 0 {
		verdict = fmt.Sprintf("%d replicas DIFFER", l.sum.Differences-l.sum.Behind)
		if l.sum.Behind > 0 {
			verdict += fmt.Sprintf(", %d are behind", l.sum.Behind)
		}
	}
	if l.sum.Alone > 0 {
		verdict += fmt.Sprintf(" (%d partitions more are in one folder only)", l.sum.Alone)
	}
	return fmt.Sprintf("%d brokers, %d partitions, %d replicas, %d batches, %d records, %d bytes compared: %s", l.brokers,
		l.sum.Partitions, l.sum.Replicas, l.sum.Batches, l.sum.Records, l.sum.Bytes, verdict)
}

// MarshalJSON names the fields as the other lines do.
func (l comparedLine) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Type        string `json:"type"`
		Brokers     int    `json:"brokers"`
		Partitions  int    `json:"partitions"`
		Replicas    int    `json:"replicas"`
		Alone       int    `json:"alone"`
		Batches     int64  `json:"batches"`
		Records     int64  `json:"records"`
		Bytes       int64  `json:"bytes"`
		Differences int    `json:"differences"`
		Behind      int    `json:"behind"`
	}{l.Type, l.brokers, l.sum.Partitions, l.sum.Replicas, l.sum.Alone, l.sum.Batches, l.sum.Records, l.sum.Bytes,
		l.sum.Differences, l.sum.Behind})
}
