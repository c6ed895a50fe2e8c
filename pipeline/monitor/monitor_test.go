package monitor

import (
	"context"
	"errors"
	"io"
	"strings"
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

func TestBadSpec(t *testing.T) {
	if _, err := New().Initiate(t.Context(), pipeline.Spec{}); err == nil || !strings.Contains(err.Error(), "initiate") {
		t.Errorf("a pipe of no stages: %v", err)
	}
}
