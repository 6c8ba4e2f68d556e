package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/cmd/cofre/internal/records"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
)

// importFlags are the flags of import.
type importFlags struct {
	format    string
	keyColumn string
	keyPath   string
	onError   string
	batch     int
	noSync    bool
	ack       string
}

func (a *app) importCommand() *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use:   "import TABLE PATH",
		Short: "Take a directory tree, CSV or JSON Lines into a table",
		Long: `Takes the entries of PATH into TABLE, which is keyspace.table, and makes store,
root key and table where they are missing.

Formats, by --format or the name of PATH:

  tree    a directory: each regular file under its path relative to PATH, with
          slashes. Symbolic links (but for PATH itself) and special files are
          left out and counted. A store inside the tree is left out too.
  csv     .csv, with a header: the key is the column --key-column, the value a
          JSON object of the row
  jsonl   .jsonl, .ndjson: a JSON object a line; the key is the string or
          number at --key-path (such as user.id), the value is the line
  export  what "cofre export" wrote, compressed or not

"-" is standard input and takes --format. Streams may be compressed with zstd.

Entries are written in batches, each of which is durable before the next.
--ack FILE appends the keys of each batch when it is, one a line (a key that is
not printable text as a Go string literal); a last line without its newline is
to be ignored. --no-sync makes only the whole import durable, at its end.

What cannot be taken (a ragged or malformed line, an unreadable file, a key
over 64 KiB, a value over 512 MiB) stops the import with --on-error stop, and
what lies before it is in the table. With --on-error skip it is reported and
left out, and the exit code is 7. An interrupt commits what is in hand.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runImport(cmd.Context(), f, args[0], args[1])
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.format, "format", "auto", "auto, tree, csv, jsonl or export")
	fl.StringVar(&f.keyColumn, "key-column", "", "csv: the column of the key")
	fl.StringVar(&f.keyPath, "key-path", "", "jsonl: the path of field names to the key, with dots between them")
	fl.StringVar(&f.onError, "on-error", "stop", "stop or skip")
	fl.IntVar(&f.batch, "batch", 1000, "entries a batch, at most")
	fl.BoolVar(&f.noSync, "no-sync", false, "do not wait for the disk at each batch")
	fl.StringVar(&f.ack, "ack", "", "append acknowledged keys to this file")
	return c
}

func (f *importFlags) check() error {
	switch {
	case f.onError != "stop" && f.onError != "skip":
		return &usageError{errors.New("--on-error is stop or skip")}
	case f.batch < 1:
		return &usageError{errors.New("--batch is at least 1")}
	case f.ack != "" && f.noSync:
		return &usageError{errors.New("--ack and --no-sync exclude each other: what is not synced is not acknowledged")}
	}
	return nil
}

// runImport goes through the steps of an import in an order in which bad
// input is found before a store or a key is made for it.
func (a *app) runImport(ctx context.Context, f importFlags, table, path string) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	if err := checkTableName(table); err != nil {
		return err
	}
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	in, err := a.openInput(reading, f, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	ack, err := openAck(f.ack)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ack.close()) }()

	return a.withStore(ctx, engine.CreateIfMissing, func(s *engine.Store, roots *rootKeys) error {
		t, err := s.Table(table)
		if errors.Is(err, engine.ErrTableNotFound) {
			if t, err = s.CreateTable(ctx, table, engine.TableOptions{}); err == nil {
				a.noteNewTable(s, table, roots)
			}
		}
		if err != nil {
			return err
		}
		l := &load{
			app: a, table: t, in: in, ack: ack, began: time.Now(), stopReading: stopReading,
			skip: f.onError == "skip", batch: f.batch, opts: &engine.WriteOptions{NoSync: f.noSync},
		}
		stopped := l.run(ctx)
		if l.failed {
			return l.explain(stopped) // the table refuses, so there is nothing to count
		}
		// Closing flushes what was committed into sorted files, removes the logs
		// that are no longer needed, and makes an unsynced import durable: what
		// is counted then is what stays.
		if err := t.Close(); err != nil {
			return l.explain(errors.Join(stopped, err))
		}
		if err := a.summarize(s, roots, l, stopped == nil); err != nil {
			return l.explain(errors.Join(stopped, err))
		}
		if stopped != nil {
			return l.explain(stopped)
		}
		if l.bad > 0 {
			return &failure{exitPartial, fmt.Errorf("%s skipped", plural(l.bad, "bad entry")), ""}
		}
		return nil
	})
}

// ownPaths are what an import writes itself, and the root keys, which must not
// be in a store. A tree is taken in without them.
func (a *app) ownPaths(f importFlags) []string {
	paths := []string{a.store}
	if f.ack != "" {
		paths = append(paths, f.ack)
	}
	if a.passphraseFile != "" {
		paths = append(paths, a.passphraseFile)
	}
	if keys, err := a.keysPath(); err == nil {
		paths = append(paths, keys, keys+".lock", keys+".tmp")
	}
	return paths
}

// explain says how far an import came that did not reach the end.
func (l *load) explain(err error) error {
	l.app.note("stopped after %s, %s: they are in %s, what follows them in the input is not", plural(l.entries, "entry"), size(l.bytes), l.table.Name())
	return err
}

// An importSummary is what import says at its end.
type importSummary struct {
	Table      string             `json:"table"`
	TableID    keyring.ID         `json:"table_id"`
	Store      string             `json:"store"`
	StoreID    keyring.ID         `json:"store_id"`
	Complete   bool               `json:"complete"` // the end of the input was reached
	Entries    int64              `json:"entries"`
	Bytes      int64              `json:"bytes"` // of keys and values
	Bad        int64              `json:"bad_entries"`
	Skipped    records.Skipped    `json:"skipped"`
	Seconds    float64            `json:"seconds"`
	Files      []engine.FileClass `json:"files"`
	DataKeys   int                `json:"data_keys"`
	KeyVersion uint32             `json:"table_key_version"`
	RootKey    rootInfo           `json:"root_key"`
}

// summarize prints what came in and what is on the disk now.
func (a *app) summarize(s *engine.Store, roots *rootKeys, l *load, complete bool) error {
	ctx := context.Background() // an interrupted import says it too
	doc := importSummary{
		Table: l.table.Name(), TableID: l.table.ID(), Store: a.store, StoreID: s.ID(), Complete: complete,
		Entries: l.entries, Bytes: l.bytes, Bad: l.bad, Skipped: l.in.skipped(), Seconds: time.Since(l.began).Seconds(),
	}
	info, err := findTable(s, doc.Table)
	if err != nil {
		return err
	}
	if own := roots.byURI(info.RootKeys); own != nil {
		doc.RootKey = describeRoot(ctx, own)
	}
	st, err := s.Stats(ctx)
	if err != nil {
		return err
	}
	for _, t := range st.Tables {
		if t.Name == doc.Table {
			doc.Files, doc.DataKeys, doc.KeyVersion = t.Files, t.DataKeys, t.KeyVersion
		}
	}
	return a.print(doc, doc.write)
}

func (d *importSummary) write(w io.Writer) {
	rate := ""
	if d.Seconds > 0.1 {
		rate = fmt.Sprintf(" in %.1f s, %s/s", d.Seconds, size(int64(float64(d.Bytes)/d.Seconds)))
	}
	fmt.Fprintf(w, "table     %s: took in %s, %s%s\n", d.Table, plural(d.Entries, "entry"), size(d.Bytes), rate)
	if d.Bad > 0 {
		fmt.Fprintf(w, "bad       %s left out\n", plural(d.Bad, "entry"))
	}
	if s := d.Skipped; s != (records.Skipped{}) {
		fmt.Fprintf(w, "skipped   %s, %s, %s of the import's own\n", plural(s.Symlinks, "symbolic link"), plural(s.Special, "special file"), plural(s.Excluded, "path"))
	}
	fmt.Fprintf(w, "store     %s (%s)\n\n", d.Store, d.StoreID)
	writeFiles(w, d.Files)
	fmt.Fprintf(w, "\ndata keys %s distinct, one a sealed file\n", thousands(int64(d.DataKeys)))
	fmt.Fprintf(w, "table key version %d\n", d.KeyVersion)
	d.RootKey.print(w)
}
