package oracle

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/torture/verdict"
	"github.com/cofredb/cofre/keyring"
)

// A fake is a store that holds one table.
type fake struct {
	id    keyring.ID
	state State
	err   error
}

func (f fake) List() []Listed                                                 { return []Listed{{"ks.t", f.id}} }
func (f fake) Contents(string) (State, error)                                 { return f.state, f.err }
func (f fake) SnapshotNames(context.Context, string) ([]string, error)        { return nil, nil }
func (f fake) SnapshotContents(_ context.Context, _, _ string) (State, error) { return nil, nil }

func put(k, v string) []Effect { return []Effect{{Kind: Put, A: k, B: v}} }

// TestMatch shows the oracle what is legal after four writes, of which two are
// durable and the last has not returned, and all that is not.
func TestMatch(t *testing.T) {
	t.Parallel()
	ctx, id := context.Background(), keyring.NewID()
	var w World
	h := w.Creating("ks.t")
	w.Created(h, id)
	w.Issue(h, append(put("a", "1"), put("b", "1")...))
	w.Ack(h, true)
	w.Issue(h, []Effect{{Kind: Delete, A: "b"}})
	w.Ack(h, true)
	w.Issue(h, append(put("c", "1"), put("d", "1")...))
	w.Ack(h, false)
	w.Issue(h, put("a", "2"))
	for _, tc := range []struct {
		name  string
		state State
		kind  verdict.Kind // "" is legal
	}{
		{"what is durable", State{"a": "1"}, ""},
		{"a prefix", State{"a": "1", "c": "1", "d": "1"}, ""},
		{"all", State{"a": "2", "c": "1", "d": "1"}, ""},
		{"nothing", State{}, verdict.Lost},
		{"a deleted key", State{"a": "1", "b": "1"}, verdict.Phantom},
		{"a key that never was", State{"a": "1", "x": "1"}, verdict.Phantom},
		{"a value that never was", State{"a": "3"}, verdict.Wrong},
		{"half a batch", State{"a": "1", "c": "1"}, verdict.Wrong},
		{"no prefix", State{"a": "2"}, verdict.Wrong},
	} {
		err := w.Clone(nil).Match(ctx, fake{id: id, state: tc.state})
		if tc.kind == "" {
			require.NoError(t, err, tc.name)
			continue
		}
		require.NotNil(t, verdict.Of(err), tc.name)
		require.Equal(t, tc.kind, verdict.Of(err).Kind, "%s: %v", tc.name, err)
	}
	err := w.Clone(nil).Match(ctx, fake{id: id, err: errors.New("corrupt")})
	require.Equal(t, verdict.FalseAlarm, verdict.Of(err).Kind)
	err = w.Clone(nil).Match(ctx, fake{id: keyring.NewID(), state: State{"a": "1"}})
	require.Equal(t, verdict.Phantom, verdict.Of(err).Kind)
}

// TestMatchSettles: what was seen after one recovery may not go in the next.
func TestMatchSettles(t *testing.T) {
	t.Parallel()
	ctx, id := context.Background(), keyring.NewID()
	var w World
	h := w.Creating("ks.t")
	w.Created(h, id)
	w.Issue(h, put("a", "1"))
	require.NoError(t, w.Match(ctx, fake{id: id, state: State{"a": "1"}}))
	err := w.Match(ctx, fake{id: id, state: State{}})
	require.Equal(t, verdict.Lost, verdict.Of(err).Kind)
}
