package restore

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkTree restores the sources of the Go distribution's standard library.
func BenchmarkTree(b *testing.B) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	must(b, err)
	r := newRig(b)
	r.src = filepath.Join(strings.TrimSpace(string(out)), "src")
	r.bench(b)
}

// BenchmarkLarge restores one file of incompressible data.
func BenchmarkLarge(b *testing.B) {
	r := newRig(b)
	must(b, os.WriteFile(filepath.Join(r.src, "large"), []byte(noise(256<<20)), 0o644))
	r.bench(b)
}

func (r *rig) bench(b *testing.B) {
	b.Helper()
	part := r.part(r.put())
	to := r.to
	n := 0
	for b.Loop() {
		n++
		o := r.options()
		o.To = fmt.Sprintf("%s-%d", to, n)
		run := New(part, o)
		must(b, run.Do(b.Context()))
		b.SetBytes(int64(run.Counts().Bytes))
		b.StopTimer()
		must(b, os.RemoveAll(o.To))
		b.StartTimer()
	}
}
