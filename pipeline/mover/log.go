package mover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/spool"
)

// chunk is one object of the log as the medium lists it.
type chunk struct {
	id   chunkfmt.ChunkID
	name string
	size int64
	// before: numbers from it on count where else they are, not here; 0: all count.
	before chunkfmt.Seq
}

// session is one writing session as its header tells of it. Sessions form a
// chain: each names its predecessor and the last number of it that counts.
type session struct {
	ordinal uint32
	id      chunkfmt.SessionID
	prev    chunkfmt.Predecessor
	chain   chunkfmt.Hash // of the predecessor's log at prev.Last
	sealer  *chunkfmt.Sealer
	data    []chunk // ascending
	mirrors []chunk // ascending
}

// log reads the sessions of one volume from a medium.
type log struct {
	medium media.Medium
	store  chunkfmt.StoreID
	keys   *chunkfmt.VolumeKeys
	// spooled gives the first number of a session that is in a spool; 0: none is. What chunks far away have of those
	// behind it was not acknowledged there and may be torn. nil: there is no spool.
	spooled func(ordinal uint32) chunkfmt.Seq

	mu          sync.Mutex // guards what follows; nothing is locked after it
	sealers     map[uint32]*chunkfmt.Sealer
	directories []*directory // those read last
}

func newLog(m media.Medium, store chunkfmt.StoreID, keys *chunkfmt.VolumeKeys) *log {
	return &log{medium: m, store: store, keys: keys, sealers: map[uint32]*chunkfmt.Sealer{}}
}

// sessions lists the volume's sessions with an ordinal of at least from, by
// ordinal, with their chunks but without their headers.
func (l *log) sessions(ctx context.Context, from uint32) ([]*session, error) {
	infos, err := l.medium.List(ctx, media.VolumePrefix(l.keys.ID))
	if err != nil {
		return nil, fmt.Errorf("list the log: %w", err)
	}
	byOrdinal := map[uint32]*session{}
	for _, info := range infos {
		_, id, ok := media.ParseChunkName(info.Name)
		if !ok || id.Ordinal() < from {
			continue
		}
		s := byOrdinal[id.Ordinal()]
		if s == nil {
			s = &session{ordinal: id.Ordinal()}
			byOrdinal[s.ordinal] = s
		}
		c := chunk{id: id, name: info.Name, size: info.Size}
		if l.spooled != nil && !spool.IsNear(id) {
			c.before = l.spooled(id.Ordinal())
		}
		if id.Mirror() {
			s.mirrors = append(s.mirrors, c)
		} else {
			s.data = append(s.data, c)
		}
	}
	var all []*session
	for _, s := range byOrdinal {
		byID := func(a, b chunk) int { return a.id.Compare(b.id) }
		slices.SortFunc(s.data, byID)
		slices.SortFunc(s.mirrors, byID)
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *session) int { return int(a.ordinal) - int(b.ordinal) })
	return all, nil
}

// from leaves out the sessions before an ordinal.
func from(all []*session, ordinal uint32) []*session {
	i := slices.IndexFunc(all, func(s *session) bool { return s.ordinal >= ordinal })
	if i < 0 {
		return nil
	}
	return all[i:]
}

// following calls f with a chunk. If that one is gone because a cleaner has written it anew, f is called with what it was
// written anew as.
func (l *log) following(ctx context.Context, c chunk, f func(chunk) error) error {
	for {
		err := f(c)
		if !errors.Is(err, media.ErrNotExist) {
			return err
		}
		infos, listErr := l.medium.List(ctx, media.ChunkName(l.keys.ID, c.id.Of(0)))
		if listErr != nil {
			return errors.Join(err, listErr)
		}
		known := c.id
		for _, info := range infos {
			_, id, ok := media.ParseChunkName(info.Name)
			if ok && id.Of(0) == known.Of(0) && id.Generation() > c.id.Generation() {
				c.id, c.name, c.size = id, info.Name, info.Size
			}
		}
		if c.id == known {
			return err
		}
	}
}

// errNoHeader: a session of which no chunk holds a readable session header. If it
// has begun, it is damaged; see begun.
var errNoHeader = errors.New("no session header")

// readHeader reads the session header, from its first chunk or from the mirror
// of that, or from both.
func (l *log) readHeader(ctx context.Context, s *session) error {
	if s.sealer != nil {
		return nil // it was read before
	}
	var causes []error
	for _, c := range s.firstChunks() {
		err := l.following(ctx, c, func(c chunk) error { return l.headerFrom(ctx, s, c) })
		if err == nil {
			return nil
		}
		causes = append(causes, fmt.Errorf("%s: %w", c.name, err))
	}
	if len(causes) > 0 {
		err := l.combinedHeader(ctx, s)
		if err == nil {
			return nil
		}
		causes = append(causes, fmt.Errorf("put together: %w", err))
	}
	cause := errors.Join(causes...)
	for _, err := range causes {
		if !isFormatError(err) {
			return fmt.Errorf("read the header of session %d: %w", s.ordinal, cause)
		}
	}
	if cause == nil {
		cause = errors.New("its first chunk is missing")
	}
	return fmt.Errorf("%w: session %d: %w: %w", ErrDamaged, s.ordinal, errNoHeader, cause)
}

// isFormatError tells bytes that are not what they should be from a medium that
// did not give them.
func isFormatError(err error) bool {
	for _, class := range []error{
		io.EOF, io.ErrUnexpectedEOF, chunkfmt.ErrDamaged, chunkfmt.ErrTruncated, chunkfmt.ErrAuth, chunkfmt.ErrNoFooter, errNoHeader,
	} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

func (l *log) headerFrom(ctx context.Context, s *session, c chunk) error {
	sc := chunkfmt.NewScanner(media.Reader(ctx, l.medium, c.name), c.size)
	h, err := sc.Header()
	if err != nil {
		return err
	}
	if err := l.belongs(&h, c); err != nil {
		return err
	}
	e, err := sc.Next()
	if err != nil {
		return err
	}
	if e.Tag.Kind != chunkfmt.KindSessionHeader {
		return fmt.Errorf("begins with a %v: %w", e.Tag.Kind, errNoHeader)
	}
	return l.takeHeader(ctx, s, h.Session, c, e)
}

// belongs says whether a chunk's header is that of the chunk.
func (l *log) belongs(h *chunkfmt.ChunkHeader, c chunk) error {
	if h.Store != l.store || h.Volume != l.keys.ID || h.Chunk != c.id {
		return fmt.Errorf("its header names chunk %v of another place: %w", h.Chunk, errNoHeader)
	}
	return nil
}

// takeHeader opens the session header e in chunk c.
func (l *log) takeHeader(ctx context.Context, s *session, id chunkfmt.SessionID, c chunk, e chunkfmt.Entry) error {
	sealer, err := chunkfmt.NewSealer(l.keys, id)
	if err != nil {
		return err
	}
	payload, err := l.open(ctx, sealer, c.name, e)
	if err != nil {
		return err
	}
	info, err := chunkfmt.ParseSessionInfo(payload)
	if err != nil {
		return err
	}
	options, err := chunkfmt.ParseOptions(e.Options)
	if err != nil {
		return err
	}
	prev, err := chunkfmt.ParsePredecessor(options)
	if err != nil {
		return err
	}
	s.id, s.sealer, s.prev, s.chain = id, sealer, prev, info.Chain
	l.add(s.ordinal, sealer)
	return nil
}

// open reads, authenticates and decompresses the payload of a tag.
func (l *log) open(ctx context.Context, sealer *chunkfmt.Sealer, name string, e chunkfmt.Entry) ([]byte, error) {
	stored := make([]byte, e.Tag.StoredLen())
	n, err := l.medium.ReadAt(ctx, name, stored, e.At+chunkfmt.TagSize)
	if n < len(stored) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read %v in %s: %w", e.Tag.Seq, name, err)
	}
	options, sealed := stored[:e.Tag.OptionsLen], stored[e.Tag.OptionsLen:]
	plain, private, err := sealer.Open(nil, &e.Tag, options, sealed)
	if err != nil {
		return nil, fmt.Errorf("open %v in %s: %w", e.Tag.Seq, name, err)
	}
	raw, err := chunkfmt.Decompress(nil, private.Codec, int(private.RawLen), plain)
	if err != nil {
		return nil, fmt.Errorf("decompress %v in %s: %w", e.Tag.Seq, name, err)
	}
	return raw, nil
}

// path reads the headers of all, which are by ordinal, and returns those that
// make up the log, oldest first: the one with the highest ordinal, the one that
// it names, and so on down to the first, or to one before ordinal from. Whoever
// opens a session names the newest one with a header, so one that is passed over
// was written elsewhere. top is the highest ordinal in use, also by a session
// that died before its header was durable.
func (l *log) path(ctx context.Context, all []*session, from uint32) (path []*session, top uint32, err error) {
	want := uint32(0) // the ordinal named by the session before; 0: any
	var id chunkfmt.SessionID
	for i := len(all) - 1; i >= 0; i-- {
		s := all[i]
		top = max(top, s.ordinal)
		err := l.readHeader(ctx, s)
		if errors.Is(err, errNoHeader) && (want == 0 || s.ordinal > want) {
			begun, unread := l.begun(ctx, s)
			if unread != nil {
				return nil, 0, unread
			}
			if !begun {
				continue // died while it began: it has acknowledged nothing
			}
		}
		if err != nil {
			return nil, 0, err
		}
		if want != 0 && (s.ordinal != want || s.id != id) {
			return nil, 0, pathError(path[0], s, want)
		}
		path = slices.Insert(path, 0, s)
		want, id = s.prev.Ordinal, s.prev.ID
		if want == 0 {
			return path, max(top, all[len(all)-1].ordinal), nil
		}
		if want < from {
			break
		}
	}
	if want >= from && want != 0 {
		return nil, 0, fmt.Errorf("%w: session %d goes on from session %d, which is not there", ErrCut, path[0].ordinal, want)
	}
	return path, top, nil
}

func pathError(later, found *session, want uint32) error {
	if found.ordinal > want {
		return fmt.Errorf("%w: session %d does not know session %d, which came before it", ErrForked, later.ordinal, found.ordinal)
	}
	if found.ordinal < want {
		return fmt.Errorf("%w: session %d goes on from session %d, which is not there", ErrCut, later.ordinal, want)
	}
	return fmt.Errorf("%w: session %d goes on from another session %d than the one that is there", ErrForked, later.ordinal, want)
}

// add remembers the sealer of a session.
func (l *log) add(ordinal uint32, sealer *chunkfmt.Sealer) {
	l.mu.Lock()
	l.sealers[ordinal] = sealer
	l.mu.Unlock()
}

// sealer gives the sealer of the session with that ordinal, for readers of its
// groups. Every chunk header repeats the session's id.
func (l *log) sealer(ctx context.Context, ordinal uint32) (*chunkfmt.Sealer, error) {
	l.mu.Lock()
	sealer := l.sealers[ordinal]
	l.mu.Unlock()
	if sealer != nil {
		return sealer, nil
	}
	id, err := l.sessionID(ctx, ordinal)
	if err != nil {
		return nil, fmt.Errorf("find the id of session %d: %w", ordinal, err)
	}
	if sealer, err = chunkfmt.NewSealer(l.keys, id); err != nil {
		return nil, err
	}
	l.add(ordinal, sealer)
	return sealer, nil
}

// sessionID reads the id of a session in the header of its first chunk, of the mirror of that, which stays where it is when
// the chunk is written anew, or of any.
func (l *log) sessionID(ctx context.Context, ordinal uint32) (chunkfmt.SessionID, error) {
	var err error
	for _, mirror := range []bool{false, true} {
		h, failed := l.chunkHeader(ctx, media.ChunkName(l.keys.ID, chunkfmt.MakeChunkID(ordinal, 1, mirror)))
		if failed == nil {
			return h.Session, nil
		}
		err = errors.Join(err, failed)
	}
	all, err1 := l.sessions(ctx, ordinal)
	if err1 != nil {
		return chunkfmt.SessionID{}, errors.Join(err, err1)
	}
	if len(all) == 0 || all[0].ordinal != ordinal {
		return chunkfmt.SessionID{}, err
	}
	return l.anyID(ctx, all[0])
}
