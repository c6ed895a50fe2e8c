package mover

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/media"
	"coffer/media/spool"
	"coffer/pipeline/forward"
)

// settle looks whether the log far away has gone on without what is near by, because another machine took the volume
// over. If all that counts of it is there all the same, the spool is emptied. Else what came too late becomes a branch of
// the volume, from where the two part, and then the spool is emptied; the volume is as the other machine has it.
func (sp *spooling) settle(ctx context.Context, m Starter) error {
	own, err := sp.ownSessions(ctx)
	if err != nil || len(own) == 0 {
		return err
	}
	others, err := sp.others(ctx, own)
	if err != nil || len(others) == 0 {
		return err
	}
	s := sp.s
	head, err := sp.ownHead(ctx, others)
	if err != nil {
		return fmt.Errorf("find out what is in the spool: %w", err)
	}
	there, err := sp.holds(ctx, head)
	if err != nil {
		return err
	}
	if !there {
		if err := sp.branch(ctx, m, own, head); err != nil {
			return fmt.Errorf("another machine has taken the volume over; keep what this one had in its spool as a branch: %w", err)
		}
	}
	if err := forward.Clear(ctx, sp.config(m, s.place)); err != nil {
		return fmt.Errorf("empty the spool: %w", err)
	}
	if there {
		s.o.Log.Info("another machine has gone on from what this one wrote; all that was in the spool is there")
		return nil
	}
	return s.forget()
}

// ownSessions are the ids of the sessions near by, by ordinal.
func (sp *spooling) ownSessions(ctx context.Context) (map[uint32]chunkfmt.SessionID, error) {
	own := map[uint32]chunkfmt.SessionID{}
	for _, c := range sp.catalog.Chunks() {
		if own[c.ID.Ordinal()] != (chunkfmt.SessionID{}) {
			continue
		}
		h, err := sp.s.log.chunkHeader(ctx, c.Name)
		switch {
		case err == nil:
			own[c.ID.Ordinal()] = h.Session
		case !isFormatError(err): // a crash may have torn it
			return nil, err
		}
	}
	return own, nil
}

// others are the ordinals of the sessions far away that are not this machine's, though it has one with that ordinal, or an
// earlier one, near by.
func (sp *spooling) others(ctx context.Context, own map[uint32]chunkfmt.SessionID) (map[uint32]bool, error) {
	l := newLog(sp.far, sp.s.o.Store, &sp.s.keys)
	all, err := l.sessions(ctx, lowest(own))
	if err != nil {
		return nil, err
	}
	others := map[uint32]bool{}
	for _, s := range all {
		id, err := l.anyID(ctx, s)
		if err != nil && !isFormatError(err) {
			return nil, err
		}
		if err == nil && id != own[s.ordinal] {
			others[s.ordinal] = true
		}
	}
	return others, nil
}

func lowest(own map[uint32]chunkfmt.SessionID) uint32 {
	first := uint32(chunkfmt.MaxOrdinal)
	for ordinal := range own {
		first = min(first, ordinal)
	}
	return first
}

// ownView is the log as this machine wrote it: without the sessions of others.
type ownView struct {
	*spool.Tiers
	others map[uint32]bool // ordinals
}

// List implements media.Medium.
func (v *ownView) List(ctx context.Context, prefix string) ([]media.Info, error) {
	infos, err := v.Tiers.List(ctx, prefix)
	var own []media.Info
	for _, info := range infos {
		_, id, ok := media.ParseChunkName(info.Name)
		if !ok || spool.IsNear(id) || !v.others[id.Ordinal()] {
			own = append(own, info)
		}
	}
	return own, err
}

// ownHead brings the index up to where this machine's log ends, and says where that is.
func (sp *spooling) ownHead(ctx context.Context, others map[uint32]bool) (index.Head, error) {
	s := sp.s
	whole := s.log
	defer func() { s.log = whole }()
	s.log = newLog(&ownView{s.o.Medium.(*spool.Tiers), others}, s.o.Store, &s.keys)
	s.log.spooled = sp.first
	begin, err := s.catchUp(ctx, s.acknowledged())
	return begin.prev, err
}

// holds says whether the log far away goes on from head.
func (sp *spooling) holds(ctx context.Context, head index.Head) (bool, error) {
	l := newLog(sp.far, sp.s.o.Store, &sp.s.keys)
	all, err := l.sessions(ctx, head.Ordinal)
	if err != nil {
		return false, err
	}
	path, _, err := l.path(ctx, all, head.Ordinal)
	if err == nil {
		r := &replayer{log: l, slog: sp.s.o.Log}
		err = r.verify(ctx, path, head)
	}
	if isRollback(err) || errors.Is(err, ErrCut) {
		return false, nil
	}
	return err == nil, err
}

// branch has the server make a branch and moves the spool on to there. It can be repeated when it was interrupted.
func (sp *spooling) branch(ctx context.Context, m Starter, own map[uint32]chunkfmt.SessionID, head index.Head) error {
	s := sp.s
	name := s.o.Volume + branchInfix + hex.EncodeToString(head.Session[:4])
	_, place := Keys(s.o.Master, s.o.Store, name)
	request := BranchRequest{Branch: place.String(), Before: lowest(own)}
	for _, id := range own {
		request.Sessions = append(request.Sessions, id.String())
	}
	if err := s.o.Far.Way.Call(ctx, http.MethodPost, "/v1/volumes/"+s.place.String()+"/branches", request, nil); err != nil {
		return err
	}
	s.o.Log.Warn("another machine has taken the volume over: what is in the spool becomes a branch", "branch", name)
	f := forward.Start(ctx, sp.config(m, place), sp.unsent)
	<-f.Done()
	if err := f.Err(); err != nil {
		return err
	}
	if err := s.o.Far.Way.Call(ctx, http.MethodDelete, "/v1/volumes/"+place.String()+"/lease", nil, nil); err != nil {
		s.o.Log.Info("the lease on the branch was not given back", "cause", err) // it ends by itself
	}
	sp.unsent = nil
	s.branch = name
	return nil
}

// Branch is the name of the volume that keeps what was in the spool when another machine had taken the volume over; empty
// as a rule.
func (s *Source) Branch() string { return s.branch }
