package main

import (
	"fmt"
	"path"

	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/inspect"
	"moldau.io/moldau/storage/journal"
)

// journalLine is an entry of the shared journal: batches of one log that were acknowledged before its own files were synced.
type journalLine struct {
	lineType
	Topic     string `json:"topic"`
	TopicID   string `json:"topic_id"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"`
	End       int64  `json:"end"`
}

func (l journalLine) text() string {
	return fmt.Sprintf(" %s-%d (topic id %s): offsets %d to %d", l.Topic, l.Partition, l.TopicID, l.From, l.End-1)
}

// journal prints the shared journal of a data folder, or what was kept of one in the folder of a log that is offline.
func (d *dumper) journal(name string) error {
	rescued := path.Base(name) == storage.RescuedFile
	data := path.Dir(name)
	if rescued {
		data = path.Dir(data)
	}
	m, found, err := storage.ReadMeta(d.fs, data)
	if err != nil || !found {
		return usageErrorf("%s cannot be read without the meta.properties of its data folder: %v", name, err)
	}
	var j *journal.Found
	if rescued {
		j, err = journal.FindRescued(d.fs, name, m.ClusterID)
	} else {
		j, err = journal.Find(d.fs, name, m.ClusterID, m.DirectoryID)
	}
	if err != nil {
		return d.p.print(damageLine{lineType{"damage"}, 0, 0, err.Error()})
	}
	if err := d.p.print(fileLine{lineType{"file"}, name, "journal", 0}); err != nil {
		return err
	}
	for _, what := range j.Damage {
		if err := d.p.print(damageLine{lineType{"damage"}, 0, 0, what}); err != nil {
			return err
		}
	}
	for _, log := range j.Names() {
		for _, e := range j.Entries[log] {
			if err := d.journalEntry(j, log, e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *dumper) journalEntry(j *journal.Found, log journal.Name, e journal.Entry) error {
	if int64(e.End) <= d.f.from || int64(e.From) > d.f.to || d.left == 0 {
		return nil
	}
	line := journalLine{lineType{"journal_entry"}, log.Partition.Topic, log.ID.String(), log.Partition.Partition,
		int64(e.From), int64(e.End)}
	if err := d.p.print(line); err != nil {
		return err
	}
	raw, err := j.Batches(e, nil)
	if err != nil {
		return err
	}
	for at := int64(0); len(raw) > 0; {
		b, rest, err := batch.Next(raw)
		if err != nil {
			return d.p.print(damageLine{lineType{"damage"}, at, int64(len(raw)), err.Error()})
		}
		p := inspect.Piece{Position: at, Bytes: int64(len(b)), Head: b}
		if err := d.p.print(newBatchLine(p)); err != nil {
			return err
		}
		if err := d.records(p, b); err != nil {
			return err
		}
		at, raw = at+int64(len(b)), rest
	}
	return nil
}
