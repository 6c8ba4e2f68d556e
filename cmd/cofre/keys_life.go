package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/engine"
)

func (a *app) reencryptCommand() *cobra.Command {
	var mib int64
	c := &cobra.Command{
		Use:   "reencrypt TABLE",
		Short: "Seal all live files of a table under new keys",
		Long: `Seals every live file of a table anew, each under a new data key, which the newest
version of the table's key wraps. This takes what exists from who may know an
older version of the table's key or a root key that it had: rotate first ("keys
rotate-root --to" or "keys rotate-table"). Snapshots keep their files: drop those
that he is not to read.

It can be interrupted at any time. Call it again, and it goes on where it was.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if mib < 0 {
				return &usageError{errors.New("--mib-per-second is negative")}
			}
			return a.withTable(cmd.Context(), engine.MustExist, args[0], func(t *engine.Table) error {
				var bar *progress
				defer func() {
					if bar != nil {
						bar.done()
					}
				}()
				rep, err := t.Reencrypt(cmd.Context(), engine.ReencryptOptions{
					BytesPerSecond: mib << 20,
					Progress: func(p engine.ReencryptProgress) {
						if bar == nil {
							bar = a.progress(t.Name(), &input{files: p.Files, total: p.Bytes})
						}
						bar.set(int64(p.FilesDone), p.BytesDone)
					},
				})
				if err != nil {
					return err
				}
				return a.print(rep, func(w io.Writer) {
					fmt.Fprintf(w, "table     %s: %s, %s sealed anew in %s\n", t.Name(), plural(rep.Files, "file"), size(rep.Bytes), rep.Elapsed.Round(time.Millisecond))
					fmt.Fprintf(w, "version   %d of its key, which all live files are under\n", rep.KeyVersion)
					for _, v := range rep.Free {
						fmt.Fprintf(w, "version   %d: nothing live depends on it\n", v)
					}
				})
			})
		},
	}
	c.Flags().Int64Var(&mib, "mib-per-second", 0, "seal at most so much (0: as fast as it goes)")
	return c
}

func (a *app) retireCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "retire TABLE VERSION",
		Short: "Destroy an older version of a table's key",
		Long: `Destroys an older version of a table's key: its wrap goes from the keyring. The
data keys that it wraps, of live files and of snapshots, are wrapped by the newest
version first, so that the store needs it no more; no data is touched.

Who has an older copy of the keyring, and a root key that lives, has the version
still, and reads what was sealed under it: "keys reencrypt" takes the live data from
him.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			version, err := strconv.ParseUint(args[1], 10, 32)
			if err != nil {
				return &usageError{fmt.Errorf("%q is no version of a key: a number is, as \"cofre keys status\" shows", args[1])}
			}
			return a.withTable(cmd.Context(), engine.MustExist, args[0], func(t *engine.Table) error {
				if err := t.RetireKey(cmd.Context(), uint32(version)); err != nil {
					return err
				}
				return a.print(struct {
					Table   string `json:"table"`
					Retired uint64 `json:"retired"`
				}{t.Name(), version}, func(w io.Writer) {
					fmt.Fprintf(w, "table     %s: version %d of its key is gone from this store\n", t.Name(), version)
				})
			})
		},
	}
}

func (a *app) lockCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "lock TABLE",
		Short: "Refuse every use of a table until it is unlocked",
		Long: `Refuses every use of a table, in every process, until "cofre keys unlock". The mark
lies in the store, sealed: it binds this software, and not who has the keys.
"cofre kms disable" binds whoever asks the key service.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withTable(cmd.Context(), engine.MustExist, args[0], func(t *engine.Table) error {
				return a.said(t.Lock(cmd.Context()), t.Name(), "locked")
			})
		},
	}
}

func (a *app) unlockCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unlock TABLE",
		Short: "Allow the use of a table that was locked",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withTable(cmd.Context(), engine.MustExist, args[0], func(t *engine.Table) error {
				return a.said(t.Unlock(cmd.Context()), t.Name(), "unlocked")
			})
		},
	}
}

// said prints what has become of a table, unless that failed.
func (a *app) said(err error, table, state string) error {
	if err != nil {
		return err
	}
	return a.print(struct {
		Table string `json:"table"`
		State string `json:"state"`
	}{table, state}, func(w io.Writer) { fmt.Fprintf(w, "table     %s: %s\n", table, state) })
}

// day is what ages of keys are told in.
const day = 24 * time.Hour

func (a *app) scheduleCommand() *cobra.Command {
	var keyDays, dataDays int
	c := &cobra.Command{
		Use:   "schedule TABLE",
		Short: "Set how old the keys of a table may become",
		Long: `Sets how old the newest version of a table's key may become, and the data keys of
its live files. A program that has the store open then rotates the table's key, and
seals data anew, before that age is reached; "keys status" shows when it could not.
This command ends before anything is due: without such a program, call "keys
rotate-table" and "keys reencrypt" yourself. 0 is any age; an age that is not given
stays as it is.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			const most = 100 * 365
			if keyDays < 0 || dataDays < 0 || keyDays > most || dataDays > most {
				return &usageError{fmt.Errorf("an age has 0 to %d days", most)}
			}
			if !cmd.Flags().Changed("key-days") && !cmd.Flags().Changed("data-days") {
				return &usageError{errors.New("nothing to set: use --key-days or --data-days, or both")}
			}
			return a.withTable(cmd.Context(), engine.MustExist, args[0], func(t *engine.Table) error {
				s, err := t.Schedule(cmd.Context())
				if err != nil {
					return err
				}
				if cmd.Flags().Changed("key-days") {
					s.KeyAge = time.Duration(keyDays) * day
				}
				if cmd.Flags().Changed("data-days") {
					s.DataAge = time.Duration(dataDays) * day
				}
				if err := t.SetSchedule(cmd.Context(), s); err != nil {
					return err
				}
				return a.print(struct {
					Table    string `json:"table"`
					KeyDays  int    `json:"key_days"`
					DataDays int    `json:"data_days"`
				}{t.Name(), int(s.KeyAge / day), int(s.DataAge / day)}, func(w io.Writer) {
					fmt.Fprintf(w, "table     %s: %s\n", t.Name(), scheduleText(s))
				})
			})
		},
	}
	c.Flags().IntVar(&keyDays, "key-days", 0, "the newest version of the table's key is at most so many days old")
	c.Flags().IntVar(&dataDays, "data-days", 0, "live data was sealed at most so many days ago")
	return c
}

// scheduleText says a schedule in words.
func scheduleText(s engine.Schedule) string {
	age := func(what string, d time.Duration) string {
		if d == 0 {
			return what + " of any age"
		}
		return fmt.Sprintf("%s at most %s old", what, plural(int64(d/day), "day"))
	}
	return age("key", s.KeyAge) + ", " + age("data", s.DataAge)
}
