package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/cofredb/cofre/keyring"
)

// A rootInfo is a root key as it is printed.
type rootInfo struct {
	URI      string `json:"uri"`
	State    string `json:"state,omitempty"`
	Location string `json:"location,omitempty"`
	Sealed   bool   `json:"sealed"`
	Note     string `json:"note,omitempty"`
	Error    string `json:"error,omitempty"`

	DeletionDate time.Time `json:"deletion_date,omitzero"`
}

func describeRoot(ctx context.Context, key keyring.RootKey) rootInfo {
	d, err := key.Describe(ctx)
	if err != nil {
		return rootInfo{URI: key.URI(), Error: err.Error()}
	}
	return rootInfo{URI: d.URI, State: d.State.String(), Location: d.Location, Sealed: d.Sealed, Note: d.Note, DeletionDate: d.DeletionDate}
}

func (r rootInfo) print(w io.Writer) {
	fmt.Fprintf(w, "root key  %s", r.URI)
	switch {
	case !r.DeletionDate.IsZero():
		fmt.Fprintf(w, " (%s until %s)", r.State, when(r.DeletionDate))
	case r.State != "":
		fmt.Fprintf(w, " (%s)", r.State)
	}
	fmt.Fprintln(w)
	if r.Location != "" {
		seal := "unsealed"
		if r.Sealed {
			seal = "sealed"
		}
		fmt.Fprintf(w, "          in %s (%s)\n", r.Location, seal)
	} else if r.Note != "" {
		fmt.Fprintf(w, "          %s\n", r.Note)
	}
}

// when writes a time for people.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}
