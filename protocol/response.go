package protocol

import "io"

// Section is a run of bytes that lies outside an encoded response, usually a range of a log segment, and that writes
// itself. Release must be called exactly once, whether or not it was written.
type Section interface {
	Len() int64
	io.WriterTo
	Release()
}

// Response is one encoded answer: bytes in memory with sections spliced in, so that fetched records go from the file to
// the socket and are never copied into the head.
type Response struct {
	// Head begins with the four size bytes, which count the sections too.
	Head []byte
	// Splices are in rising order of At.
	Splices []Splice
}

// Splice puts Section after the first At bytes of Head.
type Splice struct {
	At      int
	Section Section
}

// Size is the number of bytes that go to the client.
func (r *Response) Size() int64 {
	n := int64(len(r.Head))
	for _, s := range r.Splices {
		n += s.Section.Len()
	}
	return n
}

// Release gives back what the sections hold.
func (r *Response) Release() {
	for _, s := range r.Splices {
		s.Section.Release()
	}
	r.Splices = nil
}
