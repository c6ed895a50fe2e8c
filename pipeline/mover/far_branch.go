package mover

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/pipeline/channel"
)

// BranchRequest asks for a branch of a volume: a place in which its log goes on otherwise than it did, for what a client
// had in its spool when another one took the volume over.
type BranchRequest struct {
	Branch string `json:"branch"` // its id, hexadecimal, as all that follows
	// Before: all sessions with a lower ordinal are in the branch as in the volume.
	Before uint32 `json:"before"`
	// Sessions are those with that ordinal or a higher one whose chunks are in the branch too: the client's own.
	Sessions []string `json:"sessions"`
}

// maxBranched bounds the sessions of a request.
const maxBranched = 10_000

// branch makes a branch, or the same once more.
func (d *Destination) branch(w http.ResponseWriter, r *http.Request) {
	var request BranchRequest
	if err := channel.Read(w, r, &request); err != nil {
		d.fail(w, r, fmt.Errorf("%w: %w", errBad, err))
		return
	}
	v, err := d.mine(r, r.PathValue("volume"))
	if err == nil {
		err = v.branch(r.Context(), request)
	}
	if err != nil {
		d.fail(w, r, err)
		return
	}
	d.o.Log.Info("a branch is made", "client", channel.ClientOf(r.Context()).Name, "volume", v.id.String(), "branch", request.Branch)
	channel.Answer(w, http.StatusOK, struct{}{})
}

func (v *farVolume) branch(ctx context.Context, request BranchRequest) error {
	b, err := hex.DecodeString(request.Branch)
	var place chunkfmt.VolumeID
	if err != nil || len(b) != len(place) || request.Before == 0 || len(request.Sessions) > maxBranched {
		return fmt.Errorf("branch %.40q from session %d: %w", request.Branch, request.Before, errBad)
	}
	copy(place[:], b)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.place(ctx); err != nil {
		return err
	}
	// Nobody else's volume, nor one that there is, becomes a branch.
	if err := v.d.o.Registry.Grant(v.id, place); err != nil {
		return err
	}
	if err := v.beginBranch(ctx, place); err != nil {
		return err
	}
	if err := v.linkChunks(ctx, place, request); err != nil {
		return fmt.Errorf("branch a volume: %w", err)
	}
	return nil
}

// beginBranch says in a place where there is nothing yet whose branch is there. That may have been said before, and what
// follows interrupted.
func (v *farVolume) beginBranch(ctx context.Context, place chunkfmt.VolumeID) error {
	origin, err := media.Origin(ctx, v.d.o.Medium, place)
	if err != nil || origin == v.origin && place != v.origin {
		return err
	}
	there, err := v.d.o.Medium.List(ctx, media.VolumePrefix(place))
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return fmt.Errorf("there is a volume %v: %w", place, errBad)
	}
	return media.PutOrigin(ctx, v.d.o.Medium, place, v.origin)
}

// linkChunks gives the chunks that are in a branch a second name; what has such a name already stays as it is. A session
// that is not in it has to be there: else there is nothing that the branch is apart from.
func (v *farVolume) linkChunks(ctx context.Context, place chunkfmt.VolumeID, request BranchRequest) error {
	linker, ok := v.d.o.Medium.(media.Linker)
	if !ok {
		return fmt.Errorf("the store's medium has no second names: %w", errors.ErrUnsupported)
	}
	infos, err := v.medium.List(ctx, media.VolumePrefix(v.origin))
	if err != nil {
		return err
	}
	apart := false
	for _, info := range infos {
		_, id, ok := media.ParseChunkName(info.Name)
		if !ok {
			continue
		}
		if id.Ordinal() >= request.Before {
			session, ok, err := v.sessionOf(ctx, info.Name)
			if err != nil {
				return err
			}
			if own := ok && slices.Contains(request.Sessions, session.String()); !own {
				apart = apart || ok
				continue
			}
		}
		err := linker.Link(ctx, media.ChunkName(v.id, id), media.ChunkName(place, id))
		if err != nil && !errors.Is(err, media.ErrExist) {
			return err
		}
	}
	if !apart {
		return errors.Join(errBad, errors.New("nobody else has gone on from there"))
	}
	return nil
}
