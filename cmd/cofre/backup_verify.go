package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/backup"
	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/locate"
)

func (a *app) backupVerifyCommand(f *repoFlags) *cobra.Command {
	var o backup.VerifyOptions
	var noKeys bool
	c := &cobra.Command{
		Use:   "verify [BACKUP...]",
		Short: "Compare the repository with what it should have",
		Long: `Compares manifests with indexes, indexes with lockboxes and with the objects that there
are, of the backups named or of all. With the root keys that --key names the indexes are
authenticated. --read-data 1 reads every object and opens every seal; 0.1 does so with a
tenth of them, chosen by chance. Of archived logs it finds parts that are missing in
between, or with --read-data changed.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.ReadData < 0 || o.ReadData > 1 {
				return &usageError{errors.New("--read-data is a share, 0 to 1")}
			}
			if len(args) > 0 {
				o.Backups = args
			}
			return a.withRepository(cmd.Context(), f, false, func(r *backup.Repository) error {
				if !noKeys {
					roots, err := a.rootKeys(cmd.Context(), false)
					if err != nil {
						return fmt.Errorf("--no-keys verifies what needs no key; for all else: %w", err)
					}
					defer roots.close()
					o.Roots = roots.all()
				}
				var done func()
				o.Progress, done = a.moving("verify")
				o.BytesPerSecond, o.Concurrency = f.mib<<20, f.concurrency
				rep, err := r.Verify(cmd.Context(), o)
				done()
				if err != nil {
					return err
				}
				return a.verified(rep, noKeys)
			})
		},
	}
	f.speed(c.Flags())
	c.Flags().Float64Var(&o.ReadData, "read-data", 0, "read this share of the data, 0 to 1")
	c.Flags().BoolVar(&noKeys, "no-keys", false, "verify what needs no key, and name none")
	return c
}

// verified prints a report. Faults make the run fail.
func (a *app) verified(rep *backup.VerifyReport, noKeys bool) error {
	for _, w := range rep.Warnings {
		a.note("warning: %s", w)
	}
	err := a.print(rep, func(w io.Writer) {
		for _, f := range rep.Faults {
			fmt.Fprintf(w, "fault     %s\n", safeLine(f.Message))
			for _, b := range f.Backups {
				fmt.Fprintf(w, "  in      %s\n", b)
			}
		}
		fmt.Fprintf(w, "backups   %d, with %s: %d authenticated, %d unsealed\n", rep.Backups, plural(rep.Tables, "table"), rep.Authenticated, rep.Unsealed)
		fmt.Fprintf(w, "objects   %s, %s\n", thousands(int64(rep.Objects)), size(rep.Bytes))
		fmt.Fprintf(w, "read      %s, %s; every seal of %s opened\n", thousands(int64(rep.Read)), size(rep.ReadBytes), thousands(int64(rep.Opened)))
		fmt.Fprintf(w, "%s\n", plural(len(rep.Faults), "fault"))
	})
	if err == nil && len(rep.Faults) == 0 && !noKeys && rep.Authenticated == 0 && rep.Tables > rep.Unsealed {
		return &failure{exitKey, errors.New("no root key that --key names opens any of it: nothing was authenticated"), "--no-keys verifies what needs no key"}
	}
	if err == nil && len(rep.Faults) > 0 {
		err = &failure{exitCorruption, fmt.Errorf("the repository has %s", plural(len(rep.Faults), "fault")), `"cofre backup create" sends again what is missing or cut, and what is damaged once its object is removed, if the store has it still`}
	}
	return err
}

func (a *app) checkStorageCommand(f *repoFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "check-storage",
		Short: "Find out whether a storage keeps its promises",
		Long: `Tries what a repository relies on: that what was written is read, listed and gone when it
is removed, that of two who make one object exactly one does, that ranges and large objects
come back as they were. It makes objects of its own below check-storage/ and removes them;
what else lies there is not touched.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := f.check(); err != nil {
				return err
			}
			st, err := locate.Open(cmd.Context(), f.location, locate.Options{Create: true})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, st.Close()) }()
			return storage.Check(cmd.Context(), st, storage.CheckOptions{Report: func(p storage.Finding) {
				kept, fault := "kept", ""
				if p.Err != nil {
					kept, fault = "BROKEN", p.Err.Error()
				}
				if a.json {
					a.writeJSON(a.stdout, struct {
						Promise string `json:"promise"`
						Matters string `json:"matters_to"`
						Kept    bool   `json:"kept"`
						Error   string `json:"error,omitempty"`
						Took    int64  `json:"took_ns"`
					}{p.Promise, p.Matters, p.Err == nil, fault, int64(p.Took)})
					return
				}
				fmt.Fprintf(a.stdout, "%-7s %s (%s)\n", kept, p.Promise, p.Took.Round(time.Millisecond))
				if p.Err != nil {
					fmt.Fprintf(a.stdout, "        matters to %s: %s\n", p.Matters, safeLine(fault))
				}
			}})
		},
	}
}
