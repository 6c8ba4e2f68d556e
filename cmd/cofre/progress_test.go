package main

import (
	"bytes"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vbauerster/mpb/v8"
)

// A screen is what was drawn so far.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) shows(pattern string) func() bool {
	re := regexp.MustCompile(pattern)
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return re.Match(s.b.Bytes())
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		in   input
		want string
	}{
		{"tree", input{total: 4 << 20, files: 1500}, `src\.go +1,234 of 1,500 .*1\.0 MiB of 4\.0 MiB +[0-9.]+ .iB/s +[0-9a-z]+ left`},
		{"file", input{total: 4 << 20}, `src\.go +1,234 .*1\.0 MiB of 4\.0 MiB +[0-9.]+ .iB/s +[0-9a-z]+ left`},
		{"pipe", input{total: -1}, `src\.go +1,234 .*1\.0 MiB +[0-9.]+ .iB/s`},
		{"empty", input{total: 0}, `src\.go +1,234 `},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var out screen
			a := &app{stderr: &out}
			p := a.draw("src.go", &tc.in, mpb.WithOutput(&out), mpb.WithAutoRefresh(), mpb.WithWidth(160))
			p.set(1234, 1<<20)
			p.note("skipped %s", "line 3: \x1b[2J")
			require.Eventually(t, out.shows(tc.want), 10*time.Second, 10*time.Millisecond)
			require.Eventually(t, out.shows("cofre: skipped line 3: \uFFFD\\[2J\n"), 10*time.Second, 10*time.Millisecond)
			p.done()
		})
	}
}

// TestNoProgress: where standard error is no terminal, nothing is drawn.
func TestNoProgress(t *testing.T) {
	t.Parallel()
	var out screen
	a := &app{stderr: &out}
	p := a.progress("src.go", &input{total: 10})
	p.set(1, 10)
	p.done()
	require.Empty(t, out.b.String())
}

func TestFigures(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		require.Equal(t, want, thousands(n))
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 1<<20 - 1: "1.0 MiB", 1<<63 - 1: "8192.0 PiB"} {
		require.Equal(t, want, size(n))
	}
	require.Equal(t, "a\nb", distinctLines("a\nb\na"))
	require.Equal(t, "1 entry", plural(1, "entry"))
	require.Equal(t, "2,000 entries", plural(2000, "entry"))
	require.Equal(t, "0 files", plural(0, "file"))
}
