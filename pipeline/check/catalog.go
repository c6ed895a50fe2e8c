package check

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/scrub"
)

// catalog gives the chunks that the volume's catalog knows; none where there is no file of it.
func (r *run) catalog(ctx context.Context) (map[chunkfmt.ChunkID]media.Chunk, error) {
	name := media.CatalogName(r.ID)
	list, err := r.Medium.List(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look for the catalog: %w", err)
	}
	for _, info := range list {
		if info.Name != name {
			continue
		}
		chunks, err := media.ReadCatalogFile(media.Reader(ctx, r.Medium, name), info.Size, r.ID)
		if ctx.Err() != nil || errors.Is(err, media.ErrClosed) {
			return nil, err
		}
		return chunks, nil // up to where the file is good, and scrub says where it is not
	}
	return nil, nil
}

// missingChunks finds chunks that are gone, or shorter than they were when the catalog was told of them.
func (r *run) missingChunks(ctx context.Context, cataloged map[chunkfmt.ChunkID]media.Chunk) error {
	if len(cataloged) == 0 {
		return nil
	}
	list, err := r.Medium.List(ctx, media.VolumePrefix(r.ID))
	if err != nil {
		return err
	}
	size := map[string]int64{}
	for _, info := range list {
		size[info.Name] = info.Size
	}
	short := func(k media.Chunk) bool { there, ok := size[k.Name]; return !ok || k.Complete && there < k.Size }
	var gone []media.Chunk
	for _, id := range slices.Sorted(maps.Keys(cataloged)) {
		if k := cataloged[id]; short(k) {
			gone = append(gone, k)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	// Whoever writes the volume may have removed them meanwhile, and says so before he does.
	if cataloged, err = r.catalog(ctx); err != nil {
		return err
	}
	for _, k := range gone {
		if again, ok := cataloged[k.ID]; !ok || !short(again) {
			continue
		}
		f := scrub.Finding{Object: k.Name, Volume: r.ID.String(), Chunk: k.ID, What: scrub.Missing, Offset: size[k.Name],
			Length: k.Size - size[k.Name], Cause: "the catalog knows a whole chunk"}
		if !slices.ContainsFunc(r.found, func(g scrub.Finding) bool { return g.Object == f.Object }) {
			r.take(f)
		}
	}
	return nil
}
