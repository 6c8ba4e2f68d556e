package local

import "context"

// lock waits for the exclusive lock of a file and returns what releases it. Whoever has
// it may be stopped, or its file system hang: so ctx ends the wait. Then the goroutine
// that waits stays until the system answers, and lets go at once.
func lock(ctx context.Context, path string) (release func() error, err error) {
	type answer struct {
		release func() error
		err     error
	}
	answers, over := make(chan answer), make(chan struct{})
	defer close(over)
	go func() {
		release, err := lockFile(path)
		select {
		case answers <- answer{release, err}:
		case <-over:
			if err == nil {
				_ = release()
			}
		}
	}()
	select {
	case a := <-answers:
		return a.release, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
