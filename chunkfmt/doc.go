// Package chunkfmt is the format of everything that Coffer puts on a medium: chunks
// with their headers, tags, options headers and footers; the sealing of what tags
// carry; and the payloads of sessions, archives and metadata batches.
//
// It knows no media, no pipe and no index: it turns values into bytes and bytes into
// values, and reads through an [io.ReaderAt]. It compresses nothing (the compress
// stage chooses how) but decompresses everything.
//
// A framed chunk is
//
//	+--------+-----+---------+--------+-----+--------+-- … --+--------+
//	| chunk  | tag | options | sealed | tag | sealed |       | chunk  |
//	| header | 96  | TLVs    | bytes  | 96  | bytes  |       | footer |
//	+--------+-----+---------+--------+-----+--------+-- … --+--------+
//
// Start reading at [Tag], then [ChunkHeader], [Sealer] and [Scanner]. FORMAT.md beside
// the code is the reference: every field with its reason, the rules of write ordering,
// and what an observer of the media can see.
package chunkfmt
