package scrub

import (
	"fmt"
	"strings"

	"coffer/chunkfmt"
)

// Structure says which part of a store a finding is about.
type Structure string

// The structures. Of a tag and its bytes the tag's kind is in the finding.
const (
	StoreFile   Structure = "store file"
	KeyFile     Structure = "key file"
	CatalogFile Structure = "catalog"      // made anew from the chunks by itself
	Header      Structure = "chunk header" // of a whole chunk
	Tag         Structure = "tag"          // the 96 bytes in front of a group
	Payload     Structure = "payload"      // options and sealed bytes behind a tag
	Footer      Structure = "chunk footer"
	Stretch     Structure = "stretch" // bytes of which is not known what stood there
	Missing     Structure = "missing" // acknowledged bytes that are not there
	Unreadable  Structure = "unreadable"
)

// Range is a range of sequence numbers, both ends included.
type Range struct {
	First chunkfmt.Seq `json:"first"`
	Last  chunkfmt.Seq `json:"last"`
}

// String returns "s3/17" or "s3/17 to s3/20".
func (r Range) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	return fmt.Sprintf("%v to %v", r.First, r.Last)
}

// Finding is one thing that is not as it was written.
type Finding struct {
	Object string           // name on the medium
	Volume string           // hexadecimal; empty for what belongs to the store
	Chunk  chunkfmt.ChunkID // 0: not a chunk
	Offset int64            // in the object, bytes
	Length int64            // bytes; 0: the object ends there
	What   Structure
	Kind   chunkfmt.Kind // with Tag and Payload, where it is known
	Seqs   []Range       // sequence numbers of the tags concerned, as far as known
	Cause  string
}

// Copy reports whether the finding is about a second copy, of which the first may be whole.
func (f *Finding) Copy() bool { return f.Chunk.Mirror() }

// String says it in a sentence without its full stop.
func (f *Finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", f.Object)
	switch {
	case f.Length > 0:
		fmt.Fprintf(&b, "bytes %d to %d, %s", f.Offset, f.Offset+f.Length-1, f.what())
	default:
		fmt.Fprintf(&b, "at %d, %s", f.Offset, f.what())
	}
	for i, r := range f.Seqs {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %v", r)
	}
	if f.Cause != "" {
		fmt.Fprintf(&b, ": %s", f.Cause)
	}
	return b.String()
}

func (f *Finding) what() string {
	kind := ""
	if f.Kind != chunkfmt.KindNone {
		kind = f.Kind.String() + " "
	}
	switch f.What {
	case Tag:
		return kind + "tag"
	case Payload:
		return "the payload of " + kind + "tag"
	case Stretch:
		return "no tag, header or footer to be read"
	case Missing:
		return "acknowledged and missing"
	}
	return string(f.What)
}
