package chunkfmt

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// A batch, or a piece of a checkpoint, of thousands of records of a few kinds has little in
// common from one byte to the next, and much from one record to the next: a byte of an inode is
// like the same byte of the inode before. CodecColumns therefore compresses the payload by
// columns, which halves what metadata takes.
//
//	+--------------+-------+-------+- … -+-------- … --------+------- … -------+
//	| batch header | count | class | ... | order of classes  | columns by class|
//	|      72      |   4   |  12   |     | one byte a record |                 |
//	+--------------+-------+-------+- … -+-------- … --------+------- … -------+
//
//	class:   op 1 | kind 1 | shortest key 2 | shortest value 4 | records 4
//	columns: lengths beyond the shortest: key 2 and value 4 bytes, as 6 columns;
//	         the columns of the first bytes, of the keys and then of the values;
//	         the rest of each key; the rest of each value
const classSize = 12

// maxClasses is how many classes the order can name.
const maxClasses = 256

// class is all records of one op and kind.
type class struct {
	op    Op
	kind  RecordKind
	key   int // shortest key
	value int // shortest value
	n     int // records

	keys int // bytes of all keys, while columns are made
	size int // bytes of all columns, likewise
}

// AppendColumns appends to dst the payload of a batch or of a piece of a checkpoint by columns, to
// be compressed with zstd and marked CodecColumns. It reports false, with dst as it was, for what is
// no such payload, or not a whole one; Decompress would not give such bytes back.
func AppendColumns(dst, payload []byte) ([]byte, bool) {
	records, classes, ok := classify(payload)
	if !ok {
		return dst, false
	}
	be := binary.BigEndian
	size := BatchHeaderSize + 4 + len(classes)*classSize + len(records)
	for i := range classes {
		size += classes[i].size
	}
	dst = grow(dst, size)
	dst = append(dst, payload[:BatchHeaderSize]...)
	dst = be.AppendUint32(dst, uint32(len(classes)))
	for _, c := range classes {
		dst = append(dst, byte(c.op), byte(c.kind))
		dst = be.AppendUint16(dst, uint16(c.key))
		dst = be.AppendUint32(dst, uint32(c.value))
		dst = be.AppendUint32(dst, uint32(c.n))
	}
	for i := range records {
		dst = append(dst, records[i].class)
	}
	at := make([]columns, len(classes))
	for i := range classes {
		n := len(dst)
		dst = dst[:n+classes[i].size]
		at[i] = classes[i].columns(dst[n:])
	}
	for i := range records {
		r := &records[i]
		at[r.class].put(r.key, r.value)
	}
	return dst, true
}

// classed is a record and the number of its class.
type classed struct {
	key, value []byte
	class      uint8
}

// classify finds the records of a payload and their classes. It reports false for what is no whole
// payload.
func classify(payload []byte) (records []classed, classes []class, ok bool) {
	if len(payload) < BatchHeaderSize {
		return nil, nil, false
	}
	count := int(binary.BigEndian.Uint32(payload[batchCountAt:]))
	rest := payload[BatchHeaderSize:]
	if count > len(rest)/RecordHeadSize {
		return nil, nil, false
	}
	records = make([]classed, 0, count)
	k := 0 // class of the record before
	for len(rest) > 0 {
		r, err := splitRecord(rest)
		if err != nil || len(records) == count {
			return nil, nil, false
		}
		if k == len(classes) || classes[k].op != r.Op || classes[k].kind != r.Kind {
			k = slices.IndexFunc(classes, func(c class) bool { return c.op == r.Op && c.kind == r.Kind })
		}
		if k < 0 {
			if k = len(classes); k == maxClasses {
				return nil, nil, false
			}
			classes = append(classes, class{op: r.Op, kind: r.Kind, key: len(r.Key), value: len(r.Value)})
		}
		c := &classes[k]
		c.key, c.value, c.n = min(c.key, len(r.Key)), min(c.value, len(r.Value)), c.n+1
		c.keys, c.size = c.keys+len(r.Key), c.size+6+len(r.Key)+len(r.Value)
		records = append(records, classed{r.Key, r.Value, uint8(k)})
		rest = rest[r.Size():]
	}
	return records, classes, len(records) == count
}

// columns are the parts of a class's columns, and how far they are filled.
type columns struct {
	*class
	lengths, key, value []byte // column after column
	keys, values        []byte // the rest of each key, and of each value
	j                   int    // records so far
}

// columns divides b, which has the size of the class.
func (c *class) columns(b []byte) columns {
	in := cutter{b: b}
	p := columns{class: c, lengths: in.take(6 * c.n), key: in.take(c.n * c.key), value: in.take(c.n * c.value)}
	p.keys = in.take(c.keys - c.n*c.key)
	p.values = in.b
	return p
}

func (p *columns) put(key, value []byte) {
	n, j := p.n, p.j
	p.j++
	k, v := len(key)-p.class.key, len(value)-p.class.value
	l := p.lengths[j:]
	l[0], l[n] = byte(k>>8), byte(k)
	l[2*n], l[3*n], l[4*n], l[5*n] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
	for _, b := range key[:p.class.key] {
		p.key[j] = b
		j += n
	}
	j = p.j - 1
	for _, b := range value[:p.class.value] {
		p.value[j] = b
		j += n
	}
	p.keys = p.keys[copy(p.keys, key[p.class.key:]):]
	p.values = p.values[copy(p.values, value[p.class.value:]):]
}

// columnsSlack is by how much the columns of a batch can be longer than the batch.
const columnsSlack = 4 + maxClasses*classSize

// fromColumns appends to room, whose capacity is the length of the batch, the batch
// payload whose columns b holds.
func fromColumns(room, b []byte) ([]byte, error) {
	in := cutter{b: b}
	header := in.take(BatchHeaderSize)
	classes, err := in.classes()
	if err != nil {
		return nil, err
	}
	records := 0
	for _, c := range classes {
		records += c.n
	}
	order := in.take(records)
	places, err := layOut(cap(room), classes, order, &in)
	if err != nil {
		return nil, err
	}
	out := room[:cap(room)]
	copy(out, header)
	for i := range classes {
		classes[i].restore(out, places[i], &in)
	}
	if in.short || len(in.b) > 0 {
		return nil, fmt.Errorf("columns of a batch do not fit it: %w", ErrDamaged)
	}
	return out, nil
}

// cutter gives parts of b from its start; short says that it had not enough.
type cutter struct {
	b     []byte
	short bool
}

func (c *cutter) take(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.short = true
		c.b = nil
		return nil
	}
	part := c.b[:n]
	c.b = c.b[n:]
	return part
}

func (c *cutter) classes() ([]class, error) {
	be := binary.BigEndian
	head := c.take(4)
	if c.short || be.Uint32(head) > maxClasses {
		return nil, fmt.Errorf("columns of a batch: no classes: %w", ErrDamaged)
	}
	classes := make([]class, be.Uint32(head))
	for i := range classes {
		b := c.take(classSize)
		if c.short {
			return nil, fmt.Errorf("columns of a batch: class %d: %w", i, ErrTruncated)
		}
		k := class{op: Op(b[0]), kind: RecordKind(b[1]), key: int(be.Uint16(b[2:])), value: int(be.Uint32(b[4:])), n: int(be.Uint32(b[8:]))}
		if k.n > MaxRaw/RecordHeadSize || k.key > MaxRaw || k.value > MaxRaw {
			return nil, fmt.Errorf("columns of a batch: class of %d records: %w", k.n, ErrDamaged)
		}
		classes[i] = k
	}
	return classes, nil
}

// place says where a record goes, and how long its parts are.
type place struct{ at, key, value int }

// layOut reads the lengths of all records, which stand at the start of the columns of
// their class, and says where in the batch of size bytes each goes.
func layOut(size int, classes []class, order []byte, in *cutter) ([][]place, error) {
	places := make([][]place, len(classes))
	rest := *in
	for i, c := range classes {
		lengths := rest.take(6 * c.n)
		if rest.short {
			return nil, fmt.Errorf("columns of a batch: lengths: %w", ErrTruncated)
		}
		places[i] = make([]place, c.n)
		longer := 0
		for j := range places[i] {
			at := func(column int) int { return int(lengths[column*c.n+j]) }
			p := &places[i][j]
			key, value := at(0)<<8|at(1), at(2)<<24|at(3)<<16|at(4)<<8|at(5)
			p.key, p.value = c.key+key, c.value+value
			longer += key + value
		}
		rest.take(c.n*(c.key+c.value) + longer)
		if rest.short {
			return nil, fmt.Errorf("columns of a batch: bytes: %w", ErrTruncated)
		}
	}
	at := BatchHeaderSize
	next := make([]int, len(classes))
	for _, i := range order {
		if int(i) >= len(classes) || next[i] == classes[i].n {
			return nil, fmt.Errorf("columns of a batch: order: %w", ErrDamaged)
		}
		p := &places[i][next[i]]
		next[i]++
		p.at = at
		at += RecordHeadSize + p.key + p.value
		if at > size || p.key > 0xffff {
			return nil, fmt.Errorf("columns of a batch: more than its %d bytes: %w", size, ErrDamaged)
		}
	}
	if at != size {
		return nil, fmt.Errorf("columns of a batch: %d bytes, want %d: %w", at, size, ErrDamaged)
	}
	return places, nil
}

// restore puts the records of the class where they belong. Their lengths were checked.
func (c *class) restore(out []byte, places []place, in *cutter) {
	be := binary.BigEndian
	in.take(6 * c.n)
	keys, values := in.take(c.n*c.key), in.take(c.n*c.value)
	for j, p := range places {
		b := out[p.at:]
		b[0], b[1] = byte(c.op), byte(c.kind)
		be.PutUint16(b[2:], uint16(p.key))
		be.PutUint32(b[4:], uint32(p.value))
		b = b[RecordHeadSize:]
		k, v := b[:c.key], b[p.key:p.key+c.value]
		at := j
		for i := range k {
			k[i] = keys[at]
			at += c.n
		}
		at = j
		for i := range v {
			v[i] = values[at]
			at += c.n
		}
	}
	for _, p := range places {
		copy(out[p.at+RecordHeadSize+c.key:], in.take(p.key-c.key))
	}
	for _, p := range places {
		copy(out[p.at+RecordHeadSize+p.key+c.value:], in.take(p.value-c.value))
	}
}
