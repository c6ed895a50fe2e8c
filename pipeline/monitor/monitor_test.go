package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"coffer/pipeline"
)

type module func(context.Context, *pipeline.Port) error

func (m module) Run(ctx context.Context, p *pipeline.Port) error { return m(ctx, p) }

func stage(name string, allocates bool, run module) pipeline.StageSpec {
	return pipeline.StageSpec{Name: name, Allocates: allocates, New: func(int) (pipeline.Module, error) { return run, nil }}
}

// endless is a pipe that runs until it is stopped.
func endless() pipeline.Spec {
	return pipeline.Spec{Buffers: 2, Size: 64, Headroom: 8, Stages: []pipeline.StageSpec{
		stage("head", true, func(ctx context.Context, _ *pipeline.Port) error { <-ctx.Done(); return nil }),
		stage("tail", false, func(ctx context.Context, p *pipeline.Port) error {
			for {
				b, err := p.ReceiveBuf(ctx)
				if err == io.EOF {
					return nil
				}
				if err != nil {
					return err
				}
				p.FreeBuf(b)
			}
		}),
	}}
}

func TestPipes(t *testing.T) {
	m := New()
	var pipes []*pipeline.Pipe
	for range 3 {
		p, err := m.Initiate(t.Context(), endless())
		if err != nil {
			t.Fatal(err)
		}
		pipes = append(pipes, p)
	}
	status := m.Status()
	if len(status) != 3 || status[0].Name == status[1].Name || status[1].Name == status[2].Name {
		t.Fatalf("status of three pipes: %+v", status)
	}
	spec := endless()
	spec.Name = pipes[0].Name()
	if _, err := m.Initiate(t.Context(), spec); err == nil {
		t.Error("two pipes of one name")
	}
	why := errors.New("asked to")
	if err := m.Stop(pipes[1].Name(), why); err != nil {
		t.Fatal(err)
	}
	if err := pipes[1].Wait(); !errors.Is(err, why) {
		t.Errorf("a stopped pipe ended with %v", err)
	}
	if n := len(m.Status()); n != 2 {
		t.Errorf("%d pipes after one was stopped", n)
	}
	if err := m.Stop("nobody", why); !errors.Is(err, ErrNoPipe) {
		t.Errorf("stop of no pipe: %v", err)
	}
	for _, p := range pipes {
		p.Abort(why)
		_ = p.Wait() // why
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// brief is a pipe that ends by itself.
func brief() pipeline.Spec {
	return pipeline.Spec{Buffers: 1, Size: 64, Stages: []pipeline.StageSpec{
		stage("only", true, func(context.Context, *pipeline.Port) error { return nil }),
	}}
}

// TestNamesAreUnique has many pipes started at the same moment: each has a name of its own, made of
// host, process and time.
func TestNamesAreUnique(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^` + regexp.QuoteMeta(fmt.Sprintf("%s-%d-", host, os.Getpid())) + `[0-9]+$`)
	m := New()
	const pipes = 50
	names := make(chan string, pipes)
	var wg sync.WaitGroup
	for range pipes {
		wg.Go(func() {
			p, err := m.Initiate(t.Context(), brief())
			if err != nil {
				t.Error(err)
				return
			}
			names <- p.Name()
			if err := errors.Join(p.Wait(), p.Close()); err != nil {
				t.Error(err)
			}
			m.Status()
		})
	}
	wg.Wait()
	close(names)
	seen := map[string]bool{}
	for name := range names {
		if seen[name] || !form.MatchString(name) {
			t.Errorf("name %q, seen before: %v", name, seen[name])
		}
		seen[name] = true
	}
}

// TestEndedPipesAreForgotten, and their names free again.
func TestEndedPipesAreForgotten(t *testing.T) {
	m := New()
	spec := brief()
	spec.Name = "again"
	for range 3 {
		p, err := m.Initiate(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(p.Wait(), p.Close()); err != nil {
			t.Fatal(err)
		}
		if status := m.Status(); len(status) != 0 {
			t.Errorf("status of a pipe that has ended: %+v", status)
		}
		if err := m.Stop("again", nil); !errors.Is(err, ErrNoPipe) {
			t.Errorf("stop of a pipe that has ended: %v", err)
		}
		if len(m.pipes) != 1 {
			t.Errorf("%d pipes are kept", len(m.pipes))
		}
	}
}

func TestBadSpec(t *testing.T) {
	m := New()
	if _, err := m.Initiate(t.Context(), pipeline.Spec{}); !errors.Is(err, pipeline.ErrSpec) || !strings.Contains(err.Error(), "initiate") {
		t.Errorf("a pipe of no stages: %v", err)
	}
	broken := errors.New("broken")
	spec := brief()
	spec.Stages[0].New = func(int) (pipeline.Module, error) { return nil, broken }
	if _, err := m.Initiate(t.Context(), spec); !errors.Is(err, broken) {
		t.Errorf("a pipe that cannot be made: %v", err)
	}
	if len(m.pipes) != 0 {
		t.Errorf("%d pipes are kept", len(m.pipes))
	}
}
