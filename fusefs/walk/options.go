package walk

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// Options says what is put where.
type Options struct {
	// Sources are paths of this machine with the meaning that `cp -a SRC… TARGET/` gives them: SRC comes to
	// be TARGET/basename, a symbolic link as a link; with a trailing slash, "/." or "/.." the contents of the
	// directory come to be those of the target, and its metadata too.
	Sources []string
	// Target is a slash-separated path in the volume; missing directories of it are made. Empty: the root.
	Target string
	// Delete removes what is in the volume below a source's place and not in the source, excluded names
	// too. What could not be read is kept. Without it nothing is removed, only replaced.
	Delete bool
	// Exclude are patterns as of a .gitignore file, relative to each source directory. A later
	// one wins over an earlier, and all of them over those of ExcludeFiles.
	Exclude []string
	// ExcludeFiles are files of such patterns, one a line.
	ExcludeFiles []string
	// Skip are absolute paths that are never looked at: the process's own mount point must be among them
	// where a source could hold it, since a server that waits for itself hangs.
	Skip []string
	// Parallel is how many files are read at a time; 0: DefaultParallel.
	Parallel int
	// Uid and Gid own the directories that are made for Target.
	Uid, Gid uint32
	// Kernel is told of changes where the tree is mounted as well; nil: it isn't.
	Kernel Kernel
	// Clock tells the time of day, to know which files changed so lately that a later change might carry
	// the same time stamps. Nil: time.Now.
	Clock func() time.Time
}

func (o *Options) parallel() int {
	if o.Parallel > 0 {
		return o.Parallel
	}
	return DefaultParallel()
}

// DefaultParallel is one file a processor, at least four, at most twelve: for so many a pipe of 64 buffers has one each, and
// blocks are cut where they are in any case.
func DefaultParallel() int {
	return min(max(4, runtime.GOMAXPROCS(0)), 12)
}

func (o *Options) now() time.Time {
	if o.Clock != nil {
		return o.Clock()
	}
	return time.Now()
}

// Counts is how much has been done.
type Counts struct {
	Files     uint64 `json:"files"`     // names other than directories that were looked at
	Dirs      uint64 `json:"dirs"`      // directories entered
	Unchanged uint64 `json:"unchanged"` // regular files that were not read since they are as last time
	Stored    uint64 `json:"stored"`    // regular files that were read
	Bytes     uint64 `json:"bytes"`     // bytes read of them
	Removed   uint64 `json:"removed"`   // names removed from the volume
	Problems  uint64 `json:"problems"`  // sources not taken, or not as they should be
}

// Progress is what the function given to Put is told: from time to time how far it is, and at once when there
// is a problem.
type Progress struct {
	Counts
	Path    string   `json:"path,omitempty"`    // the source that was last finished
	Problem *Problem `json:"problem,omitempty"` // nil: a mere report of progress
}

// Result is what Put did. The numbers are right also when Put returned an error.
type Result struct {
	Counts
	// Problems are the first maxProblems of Counts.Problems, in no order.
	Problems []Problem
}

// maxProblems bounds Result.Problems: a source on a failing disk has as many as it has files.
const maxProblems = 1000

// Err sums the problems up: nil when there is none.
func (r *Result) Err() error {
	if r.Counts.Problems == 0 {
		return nil
	}
	first := r.Problems[0]
	if r.Counts.Problems == 1 {
		return &first
	}
	return fmt.Errorf("%d sources were not put as they should be, the first: %w", r.Counts.Problems, &first)
}

// Problem is a source that was not taken, or not as it should be.
type Problem struct {
	Path string
	Err  error
}

// Error says which source and why.
func (p *Problem) Error() string { return fmt.Sprintf("put %s: %v", p.Path, p.Err) }

// Unwrap gives the cause.
func (p *Problem) Unwrap() error { return p.Err }

// MarshalText makes the problem a line of text in JSON.
func (p *Problem) MarshalText() ([]byte, error) { return []byte(p.Error()), nil }

// What can be wrong with a source or a target beside what the system says.
var (
	// ErrChanged: the file changed while it was read. It is stored as it was read, and is read again next time.
	ErrChanged = errors.New("changed while it was read")
	// ErrTarget: the target is not a directory of the volume, or would lie below a file.
	ErrTarget = errors.New("the target is not a directory")
	// ErrSource: a source that can't name anything to put.
	ErrSource = errors.New("no such source")
)
