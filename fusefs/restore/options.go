package restore

import (
	"errors"
	"fmt"
	"runtime"
)

// Options says what is restored where.
type Options struct {
	// To is the directory that comes to be what the part lies below. It is made if it is
	// missing, but for the directory that it is in.
	To string
	// Overwrite replaces files that are there and differ, and sets the attributes of
	// directories that were there. A directory is replaced only if it is empty.
	Overwrite bool
	// Owner sets owners, groups, and attributes that only root may set.
	Owner bool
	// Parallel is how many files are written at a time; 0: two a processor, at least four.
	Parallel int
	// Away is what reads say when the store does not answer any more, which ends the run;
	// nil: no read says that.
	Away error
	// Tell is told of each problem, by one goroutine at a time; nil: nobody is.
	Tell func(Problem)
}

func (o *Options) parallel() int {
	if o.Parallel > 0 {
		return o.Parallel
	}
	return max(4, 2*runtime.GOMAXPROCS(0))
}

// Counts is how much has been done.
type Counts struct {
	Files    uint64 `json:"files"`    // names other than directories that were restored
	Bytes    uint64 `json:"bytes"`    // of regular files among them, holes included
	There    uint64 `json:"there"`    // names that were there already, complete
	Kept     uint64 `json:"kept"`     // bytes of regular files among those
	Problems uint64 `json:"problems"` // names that are not there now as they should be
}

// Problem is a name that could not be restored, or not as it was.
type Problem struct {
	Path string // from the root of the volume's part, with a slash in front
	Err  error
}

// Error says which name and why.
func (p *Problem) Error() string { return fmt.Sprintf("restore %s: %v", p.Path, p.Err) }

// Unwrap gives the cause.
func (p *Problem) Unwrap() error { return p.Err }

// What can be in the way beside what the system says.
var (
	// ErrThere: something else has the name.
	ErrThere = errors.New("something else is there; --overwrite replaces it")
	// ErrDirectory: a directory is in the way, which is replaced only if it is empty.
	ErrDirectory = errors.New("a directory is there that is not empty")
	// ErrBusy: another run restores into the same directory.
	ErrBusy = errors.New("another restore into it is under way")
	// ErrLinked: the file that the name is to be a link to could not be restored.
	ErrLinked = errors.New("the file that it is another name of was not restored")
)
