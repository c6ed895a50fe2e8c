package pipeline_test

import (
	"context"
	"fmt"
	"io"
	"os"

	"coffer/pipeline"
)

// letters is the head: it fills one buffer with each letter.
type letters struct{ text string }

func (m letters) Run(ctx context.Context, p *pipeline.Port) error {
	for _, r := range m.text {
		b, err := p.AllocBuf(ctx)
		if err != nil {
			return err
		}
		b.Length = copy(b.Data(), string(r))
		p.SendBuf(b)
	}
	return nil
}

// upper changes what passes, in place.
type upper struct{}

func (upper) Run(ctx context.Context, p *pipeline.Port) error {
	for {
		b, err := p.ReceiveBuf(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		b.Data()[0] -= 'a' - 'A'
		p.SendBuf(b)
	}
}

// writer is the tail.
type writer struct{ to io.Writer }

func (m writer) Run(ctx context.Context, p *pipeline.Port) error {
	for {
		b, err := p.ReceiveBuf(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		_, err = m.to.Write(b.Data()[:b.Length])
		p.FreeBuf(b)
		if err != nil {
			return err
		}
	}
}

func Example() {
	one := func(m pipeline.Module) func(int) (pipeline.Module, error) {
		return func(int) (pipeline.Module, error) { return m, nil }
	}
	pipe, err := pipeline.Start(context.Background(), pipeline.Spec{
		Name: "sample", Buffers: 4, Size: 1024,
		Stages: []pipeline.StageSpec{
			{Name: "letters", Allocates: true, New: one(letters{"datapipe"})},
			{Name: "upper", Instances: 3, Ordered: true, New: one(upper{})},
			{Name: "writer", New: one(writer{os.Stdout})},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := pipe.Wait(); err != nil {
		fmt.Println(err)
	}
	if err := pipe.Close(); err != nil {
		fmt.Println(err)
	}
	// Output: DATAPIPE
}
