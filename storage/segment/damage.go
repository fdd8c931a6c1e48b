package segment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"moldau.io/moldau/protocol"
)

// DamageError says that a segment's file does not hold the batch that should begin at a place.
type DamageError struct {
	Segment  *Segment
	Name     string
	Position int64
	Offset   protocol.Offset // the lowest that may be hit; -1 where that is not known
	Err      error
}

func (e *DamageError) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("%s is damaged at byte %d: %v", e.Name, e.Position, e.Err)
	}
	return fmt.Sprintf("%s is damaged at byte %d, from offset %d on: %v", e.Name, e.Position, e.Offset, e.Err)
}

// Unwrap is the cause.
func (e *DamageError) Unwrap() error { return e.Err }

// shortRead is what a read of the log that did not give all bytes means: where the file ends too early, somebody has cut
// it.
func (s *Segment) shortRead(pos int64, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return &DamageError{Segment: s, Name: s.log.name(), Position: pos, Offset: -1,
			Err: fmt.Errorf("the file ends too early, it had %d bytes", s.Size())}
	}
	return fmt.Errorf("read %s at byte %d: %w", s.log.name(), pos, err)
}

// IndexError says that an index does not belong to its log. Mend makes it anew.
type IndexError struct {
	Segment *Segment
	Name    string
	Err     error
	mends   int32 // how often the segment had been mended
}

func (e *IndexError) Error() string {
	return fmt.Sprintf("%s does not belong to its log: %v", e.Name, e.Err)
}

// Unwrap is the cause.
func (e *IndexError) Unwrap() error { return e.Err }

// Mended says that the indexes have been made anew since.
func (e *IndexError) Mended() bool { return e.Segment.mends.Load() != e.mends }

func (s *Segment) offsetsLie(err error) error { return s.lies(&s.offsets, err) }
func (s *Segment) timesLie(err error) error   { return s.lies(&s.times, err) }

// lies is an *IndexError, unless err is a fault of the disk.
func (s *Segment) lies(x *index, err error) error {
	var path *fs.PathError
	if errors.Is(err, ErrRemoved) || errors.As(err, &path) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, io.EOF) {
		return err
	}
	return &IndexError{Segment: s, Name: x.file.name(), Err: err, mends: s.mends.Load()}
}
