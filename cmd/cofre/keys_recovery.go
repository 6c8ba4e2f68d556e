package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/recovery"
)

// maxSheet bounds the file of a recovery sheet, in bytes.
const maxSheet = 64 << 10

func (a *app) recoveryCommand() *cobra.Command {
	c := group("recovery", "A root key on paper: make one, open a store with it", a.recoveryAddCommand(), a.recoveryOpenCommand())
	c.Long = `A recovery key is a root key whose private half is printed on a sheet and is
nowhere else. The store's keys are wrapped for its public half, which lies in
recovery.pub beside the key service's file, or where --recovery says. So the store
can be opened after every key service is lost, by who has the sheet.

A recovery key is known by its fingerprint: it is printed on the sheet, "cofre keys
roots" shows it, and a public key that somebody has planted has another.`
	return c
}

// A recoveryReport says what a recovery key wraps since.
type recoveryReport struct {
	RootKey     string               `json:"root_key"`
	Fingerprint recovery.Fingerprint `json:"fingerprint"`
	Sheet       string               `json:"sheet,omitempty"`
	PublicKey   string               `json:"public_key_file"`
	StoreKey    bool                 `json:"store_key"` // it wraps it since
	Tables      []string             `json:"tables"`    // whose keys it wraps since
}

func (a *app) recoveryAddCommand() *cobra.Command {
	var sheet, fingerprint string
	c := &cobra.Command{
		Use:   "add [TABLE...]",
		Short: "Wrap the keys of the store and its tables for a recovery key",
		Long: `Wraps the store's own key, and those of the tables named or of all, for a recovery
key: one unwrap and one wrap each. Tables that are created afterwards are wrapped for
it too.

With --sheet FILE it makes a new recovery key: it writes the sheet to FILE, which must
not exist, and the public key to recovery.pub (see --recovery). Print the sheet, check
that it reads, and delete FILE: who has it, and a copy of the store, reads all of it.

Without --sheet it takes the recovery key that is configured, for what is not wrapped
for it yet. Compare its fingerprint with the one on the sheet, or have it compared
with --fingerprint, which also chooses where there are several.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			for _, name := range args {
				if err := checkTableName(name); err != nil {
					return err
				}
			}
			report := &recoveryReport{Sheet: sheet, Tables: []string{}}
			if sheet != "" {
				a.recoveryMade = true
				if fingerprint != "" {
					return &usageError{errors.New("--sheet makes a new recovery key: --fingerprint does not go with it")}
				}
				f, err := a.newRecoveryKey(ctx, sheet, args)
				if err != nil {
					return err
				}
				fingerprint = f.String()
			}
			r, err := a.chosenRecipient(fingerprint)
			if err != nil {
				return err
			}
			report.RootKey, report.Fingerprint = r.URI(), r.Fingerprint()
			if report.PublicKey, _, err = a.recoveryPath(); err != nil {
				return err
			}
			err = a.withStore(ctx, engine.MustExist, func(s *engine.Store, _ *rootKeys) error {
				return addRecipient(ctx, s, r, args, report)
			})
			if err != nil {
				return err
			}
			if sheet != "" && sheet != "-" {
				a.note("%s holds the private key: print it, and delete it. Until then it protects nothing.", sheet)
			}
			return a.print(report, report.write)
		},
	}
	c.Flags().StringVar(&sheet, "sheet", "", "make a new recovery key, and write its sheet to this file")
	c.Flags().StringVar(&fingerprint, "fingerprint", "", "the recovery key that it must be, as printed on its sheet")
	return c
}

func (r *recoveryReport) write(w io.Writer) {
	fmt.Fprintf(w, "recovery  fingerprint %s\n", r.Fingerprint)
	if r.Sheet != "" {
		fmt.Fprintf(w, "sheet     %s\n", r.Sheet)
	}
	fmt.Fprintf(w, "public    %s\n", r.PublicKey)
	if r.StoreKey {
		fmt.Fprintln(w, "store key wrapped for it")
	}
	for _, t := range r.Tables {
		fmt.Fprintf(w, "table     %s: wrapped for it\n", t)
	}
	if !r.StoreKey && len(r.Tables) == 0 {
		fmt.Fprintln(w, "nothing   to do: all was wrapped for it")
	}
}

// newRecoveryKey makes a recovery key. The sheet is durable before anything is wrapped
// for its key, and the public key before it is needed as a pin. If we crash between,
// the sheet opens nothing yet, and "add" goes on from there.
func (a *app) newRecoveryKey(ctx context.Context, path string, tables []string) (f recovery.Fingerprint, err error) {
	about := recovery.About{}
	err = a.withStore(ctx, engine.ReadOnly, func(s *engine.Store, _ *rootKeys) error {
		about.Store = s.ID()
		for _, t := range s.Tables() {
			if len(tables) == 0 || slices.Contains(tables, t.Name) {
				about.Tables = append(about.Tables, t.Name)
			}
		}
		for _, name := range tables {
			if _, err := findTable(s, name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return f, err
	}
	id, err := recovery.Generate()
	if err != nil {
		return f, err
	}
	defer id.Close()
	text, err := id.Sheet(about)
	if err != nil {
		return f, err
	}
	defer clear(text)
	if err := a.writeSheet(path, text); err != nil {
		return f, err
	}
	_, err = a.keepRecipient(id.Recipient())
	return id.Fingerprint(), err
}

// writeSheet writes a sheet to a file that must not exist; "-" is standard output.
func (a *app) writeSheet(path string, text []byte) error {
	if path == "-" {
		if a.json {
			return &usageError{errors.New("--sheet - writes the sheet to standard output, which has JSON: name a file")}
		}
		_, err := a.stdout.Write(text)
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("the sheet's file must not exist yet: %w", err)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return syncDir(filepath.Dir(path))
}

// chosenRecipient is the recovery key that is configured, or the one of them that has
// the fingerprint.
func (a *app) chosenRecipient(fingerprint string) (keyRecipient, error) {
	rs, err := a.recipients()
	if err != nil {
		return nil, err
	}
	if fingerprint == "" {
		switch len(rs) {
		case 0:
			return nil, &failure{exitNotFound, errors.New("no recovery key is configured"), "--sheet FILE makes one; --recovery names a file that has one"}
		case 1:
			return rs[0], nil
		}
		return nil, &usageError{fmt.Errorf("%d recovery keys are configured: --fingerprint chooses", len(rs))}
	}
	f, err := recovery.ParseFingerprint(fingerprint)
	if err != nil {
		return nil, err
	}
	for _, r := range rs {
		if r.Fingerprint() == f {
			return r, nil
		}
	}
	return nil, &failure{exitNotFound, fmt.Errorf("no recovery key with the fingerprint %s is configured", f),
		"if the sheet is the right one, the file with the public key is not: --recovery names another"}
}

// A keyRecipient is a recovery key, whole or its public half.
type keyRecipient interface {
	keyring.RootKey
	Fingerprint() recovery.Fingerprint
}

// addRecipient wraps for a recovery key what is not wrapped for it yet. What is done
// stays done when the next fails.
func addRecipient(ctx context.Context, s *engine.Store, r keyring.RootKey, names []string, report *recoveryReport) error {
	if !slices.Contains(s.RootKeys(), r.URI()) {
		if err := s.AddRoot(ctx, r); err != nil {
			return of(storeKeyName, err)
		}
		report.StoreKey = true
	}
	return eachTable(s, names, func(t *engine.Table, info engine.TableInfo) error {
		if slices.Contains(info.RootKeys, r.URI()) {
			return nil
		}
		if err := t.AddRoot(ctx, r); err != nil {
			return err
		}
		report.Tables = append(report.Tables, info.Name)
		return nil
	})
}

// eachTable calls f for the tables named, or for all where none is.
func eachTable(s *engine.Store, names []string, f func(*engine.Table, engine.TableInfo) error) error {
	for _, name := range names {
		if _, err := findTable(s, name); err != nil {
			return err
		}
	}
	for _, info := range s.Tables() {
		if len(names) > 0 && !slices.Contains(names, info.Name) {
			continue
		}
		t, err := s.Table(info.Name)
		if err == nil {
			err = f(t, info)
		}
		if err != nil {
			return ofRecovery(of(info.Name, err))
		}
	}
	return nil
}

func (a *app) recoveryOpenCommand() *cobra.Command {
	var sheet, to string
	c := &cobra.Command{
		Use:   "open [TABLE...]",
		Short: "Open a store with a recovery sheet, and give it a new root key",
		Long: `Opens the store with a recovery sheet alone, and has the root key that --to names
wrap the store's own key and those of the tables named, or of all. "cofre kms create"
makes that root key; with --passphrase-file it is the passphrase's. The sheet in FILE
may be typed: the five lines that have a colon are enough; "-" is standard input.

The fingerprint on the sheet must be that of its key, and of a recovery key that the
store has. A root key that --key does not name is taken for lost: it goes, and the keys
get new versions. One that --key names stays beside the new one. Data that exists
stays open to who holds a lost root key until it is encrypted anew. The public key is
put into recovery.pub (see --recovery), so that keys can be rotated from then on.

What is done stays done if it is interrupted: run it again.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			for _, name := range args {
				if err := checkTableName(name); err != nil {
					return err
				}
			}
			switch {
			case sheet == "":
				return &usageError{errors.New("--sheet FILE names the file with the sheet")}
			case to == "" && a.passphraseFile == "":
				return &usageError{errors.New("--to NAME names the root key that the store gets")}
			case to != "" && a.passphraseFile != "":
				return &usageError{errors.New("--to names a key of the local key service: it does not go with --passphrase-file")}
			}
			if to != "" {
				if err := a.checkNewRoot(to); err != nil {
					return err
				}
			}
			id, err := a.readSheet(sheet)
			if err != nil {
				return err
			}
			defer id.Close()
			// The first is the new one. --key names what else there is.
			if a.passphraseFile == "" {
				others := slices.DeleteFunc(slices.Clone(a.keyNames), func(n string) bool { return n == to })
				a.keyNames = []string{to}
				if cmd.Flags().Changed("key") {
					a.keyNames = append(a.keyNames, others...)
				}
			}
			a.identity, a.recoveryMade = id, true
			err = a.withStore(ctx, engine.MustExist, func(s *engine.Store, roots *rootKeys) error {
				return a.recoverStore(ctx, s, roots, id, args)
			})
			var own *failure
			if errors.Is(err, keyring.ErrRootNotPinned) && !errors.As(err, &own) {
				err = notThisSheet(id, err)
			}
			return err
		},
	}
	c.Flags().StringVar(&sheet, "sheet", "", "the file with the recovery sheet, or - for standard input")
	c.Flags().StringVar(&to, "to", "", "the name of the root key that the store and its tables get")
	return c
}

// notThisSheet says that a store was not wrapped for the key of a sheet.
func notThisSheet(id *recovery.Identity, err error) error {
	return &failure{exitKey, fmt.Errorf("the store has no recovery key with the fingerprint %s: %w", id.Fingerprint(), err),
		`"cofre inspect" on the file in its directory keyring shows which it has: is it the right sheet?`}
}

// readSheet reads a recovery sheet.
func (a *app) readSheet(path string) (*recovery.Identity, error) {
	var in io.Reader = a.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, &failure{exitFailure, err, "--sheet takes a file with the sheet, typed or as it was written, or - for standard input"}
		}
		defer f.Close()
		in = f
	}
	text := make([]byte, maxSheet+1)
	defer clear(text)
	n, err := io.ReadFull(in, text)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("recovery sheet: %w", err)
	}
	return recovery.ParseSheet(text[:n])
}

// recoverStore gives the store and its tables the first of the root keys, in place of
// those that are lost.
func (a *app) recoverStore(ctx context.Context, s *engine.Store, roots *rootKeys, id *recovery.Identity, names []string) error {
	uri := id.URI()
	if !slices.Contains(s.RootKeys(), uri) {
		return notThisSheet(id, keyring.ErrRootUnknown)
	}
	before := map[string]bool{}
	had := func(uris []string) {
		for _, u := range uris {
			before[u] = true
		}
	}
	had(s.RootKeys())
	if err := recoverKey(ctx, s, s.RootKeys(), roots); err != nil {
		return ofRecovery(of(storeKeyName, err))
	}
	type tableRoots struct {
		Name     string   `json:"name"`
		RootKeys []string `json:"root_keys"`
	}
	doc := struct {
		Fingerprint recovery.Fingerprint `json:"fingerprint"`
		RootKeys    []string             `json:"root_keys"` // of the store key
		Tables      []tableRoots         `json:"tables"`
		Left        []string             `json:"left"` // tables that the sheet does not open
		Gone        []string             `json:"gone"` // root keys that were taken for lost
		PublicKey   string               `json:"public_key_file"`
	}{Fingerprint: id.Fingerprint(), Tables: []tableRoots{}, Left: []string{}, Gone: []string{}}
	err := eachTable(s, names, func(t *engine.Table, info engine.TableInfo) error {
		if !slices.Contains(info.RootKeys, uri) {
			doc.Left = append(doc.Left, info.Name)
			return nil
		}
		had(info.RootKeys)
		return recoverKey(ctx, t, info.RootKeys, roots)
	})
	if err != nil {
		return err
	}
	doc.RootKeys = s.RootKeys()
	for _, u := range slices.Sorted(maps.Keys(before)) {
		if !roots.pins(u) && !recovery.IsRecovery(u) {
			doc.Gone = append(doc.Gone, u)
		}
	}
	for _, t := range s.Tables() {
		if (len(names) == 0 || slices.Contains(names, t.Name)) && slices.Contains(t.RootKeys, uri) {
			doc.Tables = append(doc.Tables, tableRoots{t.Name, t.RootKeys})
		}
	}
	// Without it no key could be rotated here. The sheet is the store's: it has opened it.
	doc.PublicKey, err = a.keepPublic(id.Recipient())
	if err != nil {
		return fmt.Errorf("the store is open to %s; its recovery key could not be configured: %w", roots.URI(), err)
	}
	for _, name := range doc.Left {
		a.note("%s is not wrapped for this recovery key: it stays as it is.", name)
	}
	use := "--key " + a.keyNames[0]
	if a.passphraseFile != "" {
		use = "--passphrase-file " + a.passphraseFile
	}
	if len(doc.Gone) > 0 {
		a.note(`%s was not named, and went: copies of the store that were made before stay open to what is lost, and its data until "cofre keys reencrypt TABLE". A root key that is not lost is named with --key, and stays.`, strings.Join(doc.Gone, " and "))
	}
	a.note("the sheet still opens the store. From now on use %s.", use)
	return a.print(doc, func(w io.Writer) {
		fmt.Fprintf(w, "opened    with the sheet %s\n", doc.Fingerprint)
		fmt.Fprintf(w, "public    %s\n", doc.PublicKey)
		fmt.Fprintf(w, "store key wrapped by %s\n", strings.Join(doc.RootKeys, ", "))
		for _, t := range doc.Tables {
			fmt.Fprintf(w, "table     %s: wrapped by %s\n", t.Name, strings.Join(t.RootKeys, ", "))
		}
	})
}

// keepPublic configures a recovery key, unless it is, and tells in which file.
func (a *app) keepPublic(r *recovery.Recipient) (string, error) {
	rs, err := a.recipients()
	if err != nil {
		return "", err
	}
	if slices.ContainsFunc(rs, func(o *recovery.Recipient) bool { return o.Fingerprint() == r.Fingerprint() }) {
		path, _, err := a.recoveryPath()
		return path, err
	}
	return a.keepRecipient(r)
}

// recoverKey has the first of the root keys wrap a key, and takes those away that are
// lost. One of the same URI as the new one may be lost all the same, with a key service
// of the same names: what it wraps is wrapped anew. A recovery key is never lost: its
// sheet is elsewhere.
func recoverKey(ctx context.Context, h holder, now []string, roots *rootKeys) error {
	var lost []string
	for _, uri := range now {
		if !roots.pins(uri) && !recovery.IsRecovery(uri) {
			lost = append(lost, uri)
		}
	}
	there := slices.Contains(now, roots.URI())
	if !there {
		if err := h.AddRoot(ctx, roots.RootKey); err != nil {
			return err
		}
	}
	switch {
	case len(lost) > 0:
		return h.RemoveRoot(ctx, lost...)
	case there:
		return h.RotateRoot(ctx, roots.RootKey)
	}
	return nil
}

// checkNewRoot looks for the root key that a store is to get, before anything is read.
func (a *app) checkNewRoot(name string) error {
	hint := fmt.Sprintf(`"cofre kms create %s" makes it; --keys names another file`, name)
	s, err := a.keyService(true)
	if err == nil {
		_, err = s.Key(name)
		err = errors.Join(err, s.Close())
	}
	if errors.Is(err, keyring.ErrKeyNotFound) {
		return &failure{exitNotFound, err, hint}
	}
	return err
}
