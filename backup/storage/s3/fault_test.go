package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/s3"
	"github.com/cofredb/cofre/backup/storage/s3test"
	"github.com/cofredb/cofre/backup/storage/storagetest"
)

// An ill pair is a server and what its clients see of it: straight, and
// through a proxy.
type ill struct {
	proxy    *s3test.Proxy
	straight storage.Storage
	s        storage.Storage
}

func newIll(t testing.TB, server *s3test.Server, o s3.Options) *ill {
	o.Bucket, o.Prefix, o.Credentials = server.NewBucket(t), "repository", server.Credentials()
	proxy := s3test.NewProxy(t, server.Endpoint)
	straight := o
	straight.Endpoint, straight.Stall = server.Endpoint, 0
	o.Endpoint = proxy.Endpoint
	return &ill{proxy, open(t, straight), open(t, o)}
}

// once does a fault to the first request of each kind, and lets its repetition
// pass.
func once(fault s3test.Fault) func(*http.Request) s3test.Fault {
	seen := map[string]bool{}
	return func(r *http.Request) s3test.Fault {
		q := r.URL.Query()
		q.Del("uploadId")
		kind := r.Method + r.URL.Path + q.Encode()
		if seen[kind] {
			return s3test.Pass
		}
		seen[kind] = true
		return fault
	}
}

// stalls tells whether a fault lasts until the client has enough.
func stalls(f s3test.Fault) bool {
	return f == s3test.Stall || f == s3test.StallLate || f == s3test.StallBody
}

// TestFaultOnce does each fault to the first attempt of each request: every
// operation succeeds, and what is stored is what was put.
func TestFaultOnce(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for fault := s3test.Refuse; fault < s3test.Faults; fault++ {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			o := s3.Options{Attempts: 8}
			if stalls(fault) {
				if testing.Short() && fault != s3test.StallBody {
					t.Skip("takes seconds")
				}
				o.Stall = 500 * time.Millisecond
			}
			i := newIll(t, server, o)
			i.proxy.Set(once(fault))
			small, big := storagetest.Random(1, 1000), storagetest.Random(2, large)
			if fault == s3test.ShortBody {
				// A server that says that half a body is the whole is not tried
				// again: it is not the network's doing.
				storagetest.MustPut(t, i.straight, "a", small)
				_, err := i.s.Get(t.Context(), "a", 0, -1)
				require.ErrorIs(t, err, storage.ErrAnswer)
				require.NotZero(t, i.proxy.Injected(fault))
				return
			}
			storagetest.MustPut(t, i.s, "a/small", small)
			storagetest.MustPut(t, i.s, "a/large", big)
			require.NoError(t, i.s.Replace(t.Context(), "a/small", storage.Bytes(small[1:])))
			require.Equal(t, small[1:], storagetest.MustGet(t, i.straight, "a/small"))
			require.True(t, bytes.Equal(big, storagetest.MustGet(t, i.straight, "a/large")))

			// Put again is ErrExists: the name was taken before, and not by this.
			require.ErrorIs(t, i.s.Put(t.Context(), "a/small", storage.Bytes(small[1:])), storage.ErrExists)

			require.True(t, bytes.Equal(big, storagetest.MustGet(t, i.s, "a/large")))
			r, err := i.s.Get(t.Context(), "a/large", 1000, 6<<20)
			require.NoError(t, err)
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			require.NoError(t, r.Close())
			require.True(t, bytes.Equal(big[1000:1000+6<<20], got))

			info, err := i.s.Stat(t.Context(), "a/large")
			require.NoError(t, err)
			require.EqualValues(t, large, info.Size)
			require.Equal(t, []string{"a/large", "a/small"}, storagetest.Names(t, i.s, "a/"))

			v := storage.NoVersion
			for n := range 3 {
				v, err = i.s.Swap(t.Context(), "lock", v, fmt.Appendf(nil, "%d", n))
				require.NoError(t, err)
				b, loaded, err := i.s.Load(t.Context(), "lock")
				require.NoError(t, err)
				require.Equal(t, fmt.Sprint(n), string(b))
				require.Equal(t, v, loaded)
			}
			require.NoError(t, i.s.Delete(t.Context(), "a/small"))
			require.Equal(t, []string{"a/large", "lock"}, storagetest.Names(t, i.straight, ""))
			require.NotZero(t, i.proxy.Injected(fault))

			// Beginning an upload twice leaves one that nobody goes on with.
			_, err = i.s.Clean(t.Context(), 0)
			require.NoError(t, err)
			cleaned, err := i.straight.Clean(t.Context(), 0)
			require.NoError(t, err)
			require.Zero(t, cleaned.Files)
		})
	}
}

// operations are all of a storage's, each as a function of the error it returns.
func operations(ctx context.Context, s storage.Storage, v storage.Version) map[string]func() error {
	return map[string]func() error{
		"put":       func() error { return s.Put(ctx, "new", storage.Bytes([]byte("new"))) },
		"put large": func() error { return s.Put(ctx, "large", storage.Bytes(storagetest.Random(1, large))) },
		"replace":   func() error { return s.Replace(ctx, "a", storage.Bytes([]byte("new"))) },
		"get": func() error {
			r, err := s.Get(ctx, "a", 0, -1)
			if err == nil {
				_, err = io.Copy(io.Discard, r)
				err = errors.Join(err, r.Close())
			}
			return err
		},
		"stat":   func() error { _, err := s.Stat(ctx, "a"); return err },
		"delete": func() error { return s.Delete(ctx, "a") },
		"load":   func() error { _, _, err := s.Load(ctx, "lock"); return err },
		"swap":   func() error { _, err := s.Swap(ctx, "lock", v, []byte("new")); return err },
		"list": func() error {
			for _, err := range s.List(ctx, "") {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"clean": func() error { _, err := s.Clean(ctx, 0); return err },
	}
}

// TestFaultAlways: where the fault stays, every operation gives up with
// ErrUnreachable, and nothing has changed where nothing can have.
func TestFaultAlways(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for _, fault := range []s3test.Fault{s3test.Refuse, s3test.Error500, s3test.Error503, s3test.Stall} {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			i := newIll(t, server, s3.Options{Stall: 100 * time.Millisecond, Attempts: 2, MaxBackoff: time.Millisecond})
			storagetest.MustPut(t, i.straight, "a", []byte("old"))
			v, err := i.straight.Swap(t.Context(), "lock", storage.NoVersion, []byte("old"))
			require.NoError(t, err)
			i.proxy.Set(func(*http.Request) s3test.Fault { return fault })
			for op, f := range operations(t.Context(), i.s, v) {
				before := i.proxy.Injected(fault)
				err := f()
				require.ErrorIs(t, err, storage.ErrUnreachable, op)
				var e *storage.Error
				require.ErrorAs(t, err, &e)
				if !stalls(fault) { // there a dial may be what stalls
					require.Equal(t, 2, i.proxy.Injected(fault)-before, op)
				}
			}
			require.Equal(t, []string{"a", "lock"}, storagetest.Names(t, i.straight, ""))
			require.Equal(t, "old", string(storagetest.MustGet(t, i.straight, "a")))
			require.Equal(t, "old", string(storagetest.MustGet(t, i.straight, "lock")))
		})
	}
}

// TestCancelledWhileAway: a context that ends ends the waiting for a server
// that does not answer.
func TestCancelledWhileAway(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for _, fault := range []s3test.Fault{s3test.Stall, s3test.Error503} {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			i := newIll(t, server, s3.Options{Attempts: 100, MaxBackoff: time.Minute})
			i.proxy.Set(func(*http.Request) s3test.Fault { return fault })
			why := errors.New("enough")
			for op := range operations(t.Context(), i.s, "v") {
				ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Millisecond, why)
				began := time.Now()
				err := operations(ctx, i.s, "v")[op]()
				cancel()
				require.ErrorIs(t, err, context.DeadlineExceeded, op)
				require.ErrorIs(t, err, why, op)
				require.Less(t, time.Since(began), 10*time.Second, op)
			}
			// So does closing.
			closing := time.AfterFunc(30*time.Millisecond, func() { _ = i.s.Close() })
			defer closing.Stop()
			_, err := i.s.Stat(t.Context(), "a")
			require.ErrorIs(t, err, storage.ErrClosed)
		})
	}
}

// TestAborted: what an upload in parts has begun is undone when it fails.
func TestAborted(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	i := newIll(t, server, s3.Options{Attempts: 2, MaxBackoff: time.Millisecond})
	parts := func(r *http.Request) bool { return r.URL.Query().Has("partNumber") }
	i.proxy.Set(func(r *http.Request) s3test.Fault {
		if parts(r) && r.URL.Query().Get("partNumber") == "3" {
			return s3test.Error500
		}
		return s3test.Pass
	})
	require.ErrorIs(t, i.s.Put(t.Context(), "a", storage.Bytes(storagetest.Random(1, large))), storage.ErrUnreachable)
	cleaned, err := i.straight.Clean(t.Context(), 0)
	require.NoError(t, err)
	require.Zero(t, cleaned)

	// And also where the context has ended.
	ctx, cancel := context.WithCancel(t.Context())
	i.proxy.Set(func(r *http.Request) s3test.Fault {
		if parts(r) {
			cancel()
		}
		return s3test.Pass
	})
	require.ErrorIs(t, i.s.Put(ctx, "a", storage.Bytes(storagetest.Random(1, large))), context.Canceled)
	cleaned, err = i.straight.Clean(t.Context(), 0)
	require.NoError(t, err)
	require.Zero(t, cleaned)

	// Where it cannot be undone, Clean does it later.
	i.proxy.Set(func(r *http.Request) s3test.Fault {
		if parts(r) || r.Method == http.MethodDelete {
			return s3test.Refuse
		}
		return s3test.Pass
	})
	require.ErrorIs(t, i.s.Put(t.Context(), "a", storage.Bytes(storagetest.Random(1, large))), storage.ErrUnreachable)
	cleaned, err = i.straight.Clean(t.Context(), time.Hour)
	require.NoError(t, err)
	require.Zero(t, cleaned, "it may be another's who is at it")
	cleaned, err = i.straight.Clean(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, 1, cleaned.Files)
	require.Empty(t, storagetest.Names(t, i.straight, ""))
}

// TestNotReadBack: a server that keeps checksums is believed, and nothing is
// downloaded to compare it.
func TestNotReadBack(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	i := newIll(t, server, s3.Options{})
	i.proxy.Set(func(r *http.Request) s3test.Fault {
		if r.Method == http.MethodGet {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		return s3test.Pass
	})
	storagetest.MustPut(t, i.s, "a", storagetest.Random(1, 100))
	storagetest.MustPut(t, i.s, "b", storagetest.Random(1, large))
	require.NoError(t, i.s.Replace(t.Context(), "b", storage.Bytes(storagetest.Random(2, large))))
}

// TestSoak does random faults to random operations, several at once, and
// compares with what ought to be there.
func TestSoak(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	steps := 40
	if testing.Short() {
		steps = 10
	}
	i := newIll(t, server, s3.Options{Stall: 2 * time.Second, Attempts: 20, MaxBackoff: 5 * time.Millisecond})
	seed := uint64(time.Now().UnixNano())
	var mu sync.Mutex
	chance := rand.New(rand.NewPCG(seed, 0))
	i.proxy.Set(func(*http.Request) s3test.Fault {
		if chance.IntN(10) >= 3 {
			return s3test.Pass
		}
		for {
			f := s3test.Fault(chance.IntN(int(s3test.Faults)))
			if f != s3test.ShortBody && (!stalls(f) || chance.IntN(20) == 0) {
				return f
			}
		}
	})
	want := map[string][]byte{} // guarded by mu
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w+1)))
			mine := map[string][]byte{}
			names := []string{fmt.Sprintf("w%d/a", w), fmt.Sprintf("w%d/b", w), fmt.Sprintf("w%d/c/d", w)}
			for step := range steps {
				name := names[rng.IntN(len(names))]
				have, there := mine[name]
				n := rng.IntN(100_000)
				if rng.IntN(10) == 0 {
					n += large
				}
				b := storagetest.Random(rng.Uint64(), n)
				var err error
				switch rng.IntN(4) {
				case 0:
					err = i.s.Put(t.Context(), name, storage.Bytes(b))
					if there && errors.Is(err, storage.ErrExists) {
						err = nil
					} else if there && err == nil {
						err = errors.New("put to a name that was taken")
					} else if err == nil {
						mine[name] = b
					}
				case 1:
					if err = i.s.Replace(t.Context(), name, storage.Bytes(b)); err == nil {
						mine[name] = b
					}
				case 2:
					if err = i.s.Delete(t.Context(), name); err == nil {
						delete(mine, name)
					}
				default:
					var r io.ReadCloser
					r, err = i.s.Get(t.Context(), name, 0, -1)
					if !there && errors.Is(err, storage.ErrNotFound) {
						err = nil
						break
					}
					if err == nil {
						b, err = io.ReadAll(r)
						err = errors.Join(err, r.Close())
						if err == nil && !bytes.Equal(b, have) {
							err = errors.New("other bytes")
						}
					}
				}
				if err != nil {
					t.Errorf("seed %d, worker %d, step %d, %s: %v", seed, w, step, name, err)
					return
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for k, v := range mine {
				want[k] = v
			}
		})
	}
	workers.Wait()
	if t.Failed() {
		return
	}
	var names []string
	for name, b := range want {
		names = append(names, name)
		require.True(t, bytes.Equal(b, storagetest.MustGet(t, i.straight, name)), "seed %d: %s", seed, name)
	}
	slices.Sort(names)
	require.Equal(t, names, storagetest.Names(t, i.straight, ""), "seed %d", seed)
}

func TestDenied(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	bucket := server.NewBucket(t)
	wrong := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "cofre-test", SecretAccessKey: "hunter2"}, nil
	})
	none := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("nobody here")
	})
	for _, c := range []aws.CredentialsProvider{wrong, none} {
		s := open(t, s3.Options{Endpoint: server.Endpoint, Bucket: bucket, Credentials: c})
		for op, f := range operations(t.Context(), s, "v") {
			err := f()
			require.ErrorIs(t, err, storage.ErrDenied, op)
			require.NotContains(t, err.Error(), "hunter2")
		}
	}
	s := open(t, s3.Options{Endpoint: server.Endpoint, Bucket: "no-such-bucket", Credentials: server.Credentials()})
	for op, f := range operations(t.Context(), s, "v") {
		if op != "delete" {
			require.ErrorIs(t, f(), storage.ErrNotFound, op)
		}
	}
}
