package stage

import (
	"coffer/chunkfmt"
	"coffer/pipeline"
)

// Shipment is a sealed buffer at the end of a pipe whose store is on another machine. It is made of a buffer that
// the stage of Config.Tail, or the tail behind a Relay, received, once; it may be used as long as that buffer is held.
// Its methods are not safe for concurrent use.
type Shipment struct {
	owner shipper
	sl    *sealed
	b     *pipeline.Buffer
}

// shipper is told what becomes of shipments; a Writer or a Relay.
type shipper interface {
	// place: a group of data lies there.
	place(g *group, l chunkfmt.Location)
	// appended: so many bytes more lie on the medium there.
	appended(bytes int)
	// ack: all up to seq is stable there, and mark with it, if there is one.
	ack(seq chunkfmt.Seq, mark *waiter, head Head)
}

// Place is where a group lies on the medium.
type Place struct {
	Seq chunkfmt.Seq
	At  chunkfmt.Location
}

// Shipment makes what lies in b ready to be shipped: its tags are written, without a place.
func (w *Writer) Shipment(b *pipeline.Buffer) Shipment { return newShipment(w, b) }

func newShipment(owner shipper, b *pipeline.Buffer) Shipment {
	s := Shipment{owner: owner, sl: b.Payload.(*sealed), b: b}
	for i := range s.sl.groups {
		g := &s.sl.groups[i]
		g.tag.Put(b.Raw()[g.at:])
	}
	return s
}

// Buffer is the buffer that it is made of.
func (s Shipment) Buffer() *pipeline.Buffer { return s.b }

// Bytes are tags, each with all that is its own, one behind the other. They last until the buffer is freed, and
// are not to be changed: readers of the tree open them meanwhile.
func (s Shipment) Bytes() []byte { return s.b.Raw()[:s.sl.length] }

// First is the sequence number of the first tag, by which it is known.
func (s Shipment) First() chunkfmt.Seq { return s.sl.groups[0].seq }

// Last is the sequence number of the last tag.
func (s Shipment) Last() chunkfmt.Seq { return s.sl.groups[len(s.sl.groups)-1].seq }

// Marked says whether somebody waits for it to become stable.
func (s Shipment) Marked() bool { return s.sl.mark != nil }

// Acked says that all of it, and all before it, is stable. Where a group lies is taken from the front of places,
// which is ascending, and returned without what was used; of a group that is not in it, readers ask the store. Nobody
// reads Bytes any more when it returns. To be called in the order of the shipments.
func (s Shipment) Acked(places []Place) []Place {
	for i := range s.sl.groups {
		g := &s.sl.groups[i]
		for len(places) > 0 && places[0].Seq < g.seq {
			places = places[1:]
		}
		if g.kind != chunkfmt.KindData {
			continue
		}
		var at chunkfmt.Location
		if len(places) > 0 && places[0].Seq == g.seq {
			at = places[0].At
		}
		s.owner.place(g, at)
	}
	s.owner.appended(s.sl.length)
	s.owner.ack(s.Last(), s.sl.mark, s.sl.head)
	return places
}

// Bound has writers wait once so many bytes are pending, and half of that or more; 0: only for buffers. For the stage of
// Config.Tail.
func (w *Writer) Bound(bytes int64) { w.flow.bound(bytes) }

// Bounded says how many writers wait for the bound, and how often one has had to.
func (w *Writer) Bounded() (now int, ever int64) {
	return int(w.flow.waiting.Load()), w.flow.waits.Load()
}

// Stalled tells all who wait that what they wait for will not come soon, because of err; nil ends that. It says whether
// that is news. For the stage of Config.Tail.
func (w *Writer) Stalled(err error) bool { return w.stalled(err) }

// Retry has a token when somebody came to wait while Stalled was in force, and wants to know what is so now.
func (w *Writer) Retry() <-chan struct{} { return w.retrying() }

// Failed tells all who wait, or will, that it is in vain. For the stage of Config.Tail, when it ends with an error.
func (w *Writer) Failed(err error) { w.fail(err) }
