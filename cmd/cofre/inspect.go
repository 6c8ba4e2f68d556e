package main

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/audit"
	"github.com/cofredb/cofre/sstable"
)

// A sealedInfo is the header of a sealed file, field by field. Nothing here is
// secret, and nothing is authentic: it takes the data key to check a header.
type sealedInfo struct {
	Path          string     `json:"path"`
	Kind          string     `json:"kind"`
	FormatVersion uint16     `json:"format_version"`
	Suite         uint8      `json:"suite"`
	UnitSize      uint32     `json:"unit_size"`
	StoreID       keyring.ID `json:"store_id"`
	TableID       keyring.ID `json:"table_id"`
	FileID        keyring.ID `json:"file_id"`
	FileNumber    uint64     `json:"file_number"`
	Incarnation   keyring.ID `json:"incarnation"`
	CreatedAt     time.Time  `json:"created_at"`
	KeyVersion    uint32     `json:"table_key_version"`
	WrappedKey    string     `json:"wrapped_data_key"`
	FLOEParams    string     `json:"floe_parameters"`
	FLOEIV        string     `json:"floe_iv"`
	HeaderTag     string     `json:"header_tag"`
	PhysicalSize  int64      `json:"physical_size"`
	PlaintextSize *int64     `json:"plaintext_size,omitempty"` // absent for logs: it takes the key
}

func (a *app) inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE...",
		Short: "Show the header of sealed files; needs no key",
		Long: `Shows every header field of sealed files and keyrings. It needs no key and no
store, shows no secret, and checks nothing that takes a key: "cofre verify"
does. A directory stands for the sealed files below it.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := bufio.NewWriter(a.stdout)
			var worst error
			code, failed := exitOK, 0
			fail := func(err error) {
				failed++
				c, _ := judge(cmd.Context(), err)
				if worst == nil || c == exitCorruption && code != exitCorruption {
					worst, code = err, c
				}
				out.Flush()
				a.note("%v", err)
			}
			for _, arg := range args {
				err := eachFile(arg, func(path string, err error) error {
					if err == nil {
						err = a.inspect(out, path)
					}
					if err != nil {
						fail(err)
					}
					return cmd.Context().Err()
				})
				if err != nil {
					return err
				}
			}
			if err := out.Flush(); err != nil {
				return err
			}
			if failed > 0 {
				return &failure{code, fmt.Errorf("%s could not be inspected", plural(failed, "file")), ""}
			}
			return nil
		},
	}
}

// eachFile calls fn for a file, or for those below a directory that have a
// header; with an error, for what cannot be listed. Files of a store that have
// none by design are passed over: locks and markers, which are empty, and what
// a crash left unfinished.
func eachFile(arg string, fn func(path string, err error) error) error {
	info, err := os.Stat(arg)
	if err != nil || !info.IsDir() {
		return fn(arg, err)
	}
	// The separator makes a symbolic link that was named be followed.
	return filepath.WalkDir(arg+string(filepath.Separator), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fn(path, err)
		case d.IsDir() || headless(d.Name()):
			return nil
		}
		return fn(path, nil)
	})
}

// headless tells whether a file of a store has no header by design.
func headless(name string) bool {
	return slices.Contains([]string{"LOCK", "BALLAST", "KEYRING.tmp"}, name) || audit.IsFile(name) || strings.HasPrefix(name, "marker.") ||
		strings.HasPrefix(name, "new-") || strings.HasPrefix(name, "dropped-")
}

// inspect prints one file.
func (a *app) inspect(w io.Writer, path string) error {
	b, size, err := readHead(path)
	if err != nil {
		return err
	}
	switch {
	case keyring.IsKeyring(b):
		info, err := keyring.Inspect(b)
		if err != nil {
			return corrupt.At(path, err)
		}
		return a.printKeyring(w, path, size, info)
	case !keyring.IsSealed(b):
		return &failure{exitFailure, fmt.Errorf("%s: not a sealed file", path), ""}
	}
	h, err := keyring.ParseHeader(b)
	if err != nil {
		return corrupt.At(path, err)
	}
	return a.printHeader(w, path, size, h)
}

// readHead reads what inspect needs of a file: the header of a sealed file,
// the whole of a keyring.
func readHead(path string) ([]byte, int64, error) {
	// What is no regular file is not opened: a pipe would wait for a writer.
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, &failure{exitFailure, fmt.Errorf("%s: not a regular file", path), ""}
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, 0, err
	}
	b := make([]byte, keyring.HeaderLen)
	n, err := io.ReadFull(f, b)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, 0, err
	}
	b = b[:n]
	if keyring.IsKeyring(b) && info.Size() <= keyring.MaxFileLen {
		rest, err := io.ReadAll(io.LimitReader(f, keyring.MaxFileLen))
		if err != nil {
			return nil, 0, err
		}
		b = append(b, rest...)
	}
	return b, info.Size(), nil
}

func (a *app) printHeader(w io.Writer, path string, physical int64, h *keyring.Header) error {
	id := &h.Identity
	const params, iv = 10, 32 // of the FLOE header; the tag is what follows
	doc := sealedInfo{
		Path: path, Kind: id.Kind.String(), FormatVersion: h.Version, Suite: h.Suite, UnitSize: id.UnitSize,
		StoreID: id.StoreID, TableID: id.TableID, FileID: id.FileID, FileNumber: id.Number,
		Incarnation: id.Incarnation, CreatedAt: id.CreatedAt, KeyVersion: h.KeyVersion,
		WrappedKey: hex.EncodeToString(h.WrappedKey[:]),
		FLOEParams: hex.EncodeToString(h.Floe[:params]), FLOEIV: hex.EncodeToString(h.Floe[params : params+iv]),
		HeaderTag: hex.EncodeToString(h.Floe[params+iv:]), PhysicalSize: physical,
	}
	if id.Kind.Random() {
		plain, err := sstable.PlainSize(physical, id.UnitSize)
		if err != nil {
			return corrupt.At(path, err)
		}
		doc.PlaintextSize = &plain
	}
	if a.json {
		return a.writeJSON(w, doc)
	}
	line := func(name string, value any) { fmt.Fprintf(w, "  %-17s %v\n", name, value) }
	fmt.Fprintln(w, safeLine(path))
	line("kind", doc.Kind)
	line("format version", doc.FormatVersion)
	line("suite", doc.Suite)
	line("store", doc.StoreID)
	line("table", doc.TableID)
	line("file", doc.FileID)
	line("file number", doc.FileNumber)
	line("incarnation", doc.Incarnation)
	line("created", doc.CreatedAt.Format(time.RFC3339Nano))
	line("unit size", doc.UnitSize)
	line("table key version", doc.KeyVersion)
	line("wrapped data key", doc.WrappedKey)
	line("FLOE parameters", doc.FLOEParams)
	line("FLOE IV", doc.FLOEIV)
	line("header tag", doc.HeaderTag)
	line("physical size", physical)
	if doc.PlaintextSize != nil {
		line("plaintext size", *doc.PlaintextSize)
	}
	return nil
}
