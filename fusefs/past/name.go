package past

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
)

// nameMax is the length in bytes of the longest name of an entry.
const nameMax = 255

const layout = "2006-01-02T15:04:05Z"

// Name is what an archive is called: the second of its time, in UTC. The nanoseconds
// of the time count the archives of that second: the first has none, the second is
// called "…Z-2", and so on. So a name depends on nothing but its archive.
func Name(a *chunkfmt.ArchiveRecord) string {
	at := time.Unix(0, a.Time).UTC()
	name := at.Format(layout)
	if n := at.Nanosecond(); n > 0 {
		name += "-" + strconv.Itoa(n+1)
	}
	return name
}

// ParseName gives the time of the archive of that name, in nanoseconds since 1970;
// false if no archive can be called so.
func ParseName(name string) (ns int64, ok bool) {
	second, nth, counted := strings.Cut(name, "Z-")
	n := 1
	if counted {
		second += "Z"
		var err error
		if n, err = strconv.Atoi(nth); err != nil || n < 2 || n > int(time.Second) {
			return 0, false
		}
	}
	at, err := time.Parse(layout, second)
	if err != nil {
		return 0, false
	}
	a := chunkfmt.ArchiveRecord{Time: at.UnixNano() + int64(n-1)}
	return a.Time, Name(&a) == name
}

// IsName says whether a label can stand beside the names of archives.
func IsName(label string) bool {
	if _, time := ParseName(label); time {
		return false
	}
	return label != "" && len(label) <= nameMax && label != "." && label != ".." && !strings.ContainsAny(label, "/\x00")
}

// Find gives the archive that a person means: by its name, by its label (the newest
// one), by a time of RFC 3339 or a date (the last archive sealed by then), or by its
// number. ENOENT if there is none.
func Find(x Index, what string) (chunkfmt.ArchiveRecord, error) {
	if ns, ok := ParseName(what); ok {
		if a, ok, err := x.ArchiveAt(ns); err != nil || ok && a.Time == ns {
			return a, err
		}
	}
	if a, ok, err := x.ArchiveLabelled(what); err != nil || ok {
		return a, err
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, time.DateOnly} {
		at, err := time.ParseInLocation(layout, what, time.Local)
		if err != nil {
			continue
		}
		if a, ok, err := x.ArchiveAt(at.UnixNano()); err != nil || ok {
			return a, err
		}
	}
	if n, err := strconv.ParseUint(what, 10, 32); err == nil {
		if a, ok, err := x.ArchiveNumbered(uint32(n)); err != nil || ok {
			return a, err
		}
	}
	return chunkfmt.ArchiveRecord{}, fmt.Errorf("archive %q: %w", what, unix.ENOENT)
}
