package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup"
	"github.com/cofredb/cofre/backup/storage/lease"
	"github.com/cofredb/cofre/internal/corrupt"
)

// TestDefaultWait: a lock whose holder has died unseen is waited for to its end, and
// the call does not give up at the very moment.
func TestDefaultWait(t *testing.T) {
	t.Parallel()
	a := &app{}
	create, _, err := a.command().Find([]string{"backup", "create"})
	require.NoError(t, err)
	wait := create.InheritedFlags().Lookup("wait")
	require.Equal(t, defaultWait.String(), wait.DefValue)
	require.Greater(t, defaultWait, lease.DefaultTTL+lease.DefaultTTL/12) // and a look later
}

// TestOfPart: what stopped a restore, with what it has done by then, says how it goes on.
func TestOfPart(t *testing.T) {
	t.Parallel()
	none := &backup.RestoreReport{}
	some := &backup.RestoreReport{Tables: []backup.RestoredTable{{Name: "app.kv"}}}
	fault := fmt.Errorf("restore app.log: %w", corrupt.New(corrupt.ErrMissing, "data/ab/cd", -1, "it is gone"))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		rep  *backup.RestoreReport
		code int
		hint string
	}{
		"damaged, nothing done": {t.Context(), fault, none, exitCorruption,
			`"cofre backup verify --read-data 1" lists every fault; another backup may be whole, or a copy of the repository`},
		"damaged, a table done": {t.Context(), fault, some, exitCorruption,
			`"cofre backup verify --read-data 1" lists every fault; another backup may be whole, or a copy of the repository; ` +
				`what is listed is there, and stays: --table NAME restores each of the others`},
		"interrupted, nothing done": {ended, context.Canceled, none, exitInterrupted,
			"the same command goes on where it was; --discard gives up"},
		"interrupted, a table done": {ended, context.Canceled, some, exitInterrupted,
			"what is listed is there, and stays: --table NAME restores each of the others"},
	} {
		code, hint := judge(c.ctx, ofPart(c.ctx, c.err, c.rep))
		require.Equal(t, c.code, code, name)
		require.Equal(t, c.hint, hint, name)
		require.ErrorIs(t, ofPart(c.ctx, c.err, c.rep), c.err, name)
	}
	require.NoError(t, ofPart(t.Context(), nil, some))

	code, hint := judge(ended, ofCreate(ended, context.Canceled))
	require.Equal(t, exitInterrupted, code)
	require.Contains(t, hint, "sends what is missing")
	require.Equal(t, fault, ofCreate(t.Context(), fault))

	// What is of the store keeps its own hint.
	var own *failure
	require.False(t, errors.As(ofRepository(corrupt.New(corrupt.ErrMissing, "tables/ab/000001.sst", -1, "")), &own))
}
