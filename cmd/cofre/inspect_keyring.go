package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/cofredb/cofre/keyring"
)

// A keyringInfo is what a keyring file shows without any key.
type keyringInfo struct {
	Path          string     `json:"path"`
	Kind          string     `json:"kind"` // "keyring"
	FormatVersion uint16     `json:"format_version"`
	Suite         uint8      `json:"suite"`
	StoreID       keyring.ID `json:"store_id"`
	Generation    uint64     `json:"generation"`
	ListSize      int        `json:"sealed_list_size"`
	PhysicalSize  int64      `json:"physical_size"`
	StoreKey      keyInfo    `json:"store_key"`
	TableKeys     []keyInfo  `json:"table_keys"`
}

// A keyInfo is the entry of the store key or of a table's key.
type keyInfo struct {
	TableID      *keyring.ID  `json:"table_id,omitempty"`
	MetadataSize int          `json:"sealed_metadata_size"`
	Versions     []keyVersion `json:"versions"`
}

type keyVersion struct {
	Number    uint32    `json:"number"`
	CreatedAt time.Time `json:"created_at"`
	State     string    `json:"state"`
	Wraps     []keyWrap `json:"wraps,omitempty"`       // by root keys
	Older     string    `json:"wrapped_key,omitempty"` // by the current version
}

type keyWrap struct {
	RootKey    string `json:"root_key"`
	WrappedKey string `json:"wrapped_key"`
}

func keyInfoOf(e keyring.EntryInfo) keyInfo {
	out := keyInfo{MetadataSize: e.MetadataLen, Versions: []keyVersion{}}
	if !e.ID.IsZero() {
		out.TableID = &e.ID
	}
	for _, v := range e.Versions {
		x := keyVersion{v.Number, v.CreatedAt, v.State, nil, hex.EncodeToString(v.Older)}
		for _, w := range v.Wraps {
			x.Wraps = append(x.Wraps, keyWrap{w.URI, hex.EncodeToString(w.Blob)})
		}
		out.Versions = append(out.Versions, x)
	}
	return out
}

func (a *app) printKeyring(w io.Writer, path string, physical int64, f *keyring.FileInfo) error {
	doc := keyringInfo{path, "keyring", f.Version, f.Suite, f.StoreID, f.Generation, f.ListLen, physical, keyInfoOf(f.StoreKey), []keyInfo{}}
	for _, t := range f.Tables {
		doc.TableKeys = append(doc.TableKeys, keyInfoOf(t))
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
	line("generation", doc.Generation)
	line("sealed list", fmt.Sprintf("%d bytes", doc.ListSize))
	line("physical size", doc.PhysicalSize)
	doc.StoreKey.print(w, "store key")
	for _, t := range doc.TableKeys {
		t.print(w, "key of table "+t.TableID.String())
	}
	return nil
}

func (k *keyInfo) print(w io.Writer, name string) {
	fmt.Fprintf(w, "  %s\n", name)
	for _, v := range k.Versions {
		fmt.Fprintf(w, "    version %d, %s, created %s\n", v.Number, v.State, v.CreatedAt.Format(time.RFC3339Nano))
		for _, r := range v.Wraps {
			fmt.Fprintf(w, "      wrapped by %s\n      %s\n", safeLine(r.RootKey), r.WrappedKey)
		}
		if v.Older != "" {
			fmt.Fprintf(w, "      wrapped by the current version\n      %s\n", v.Older)
		}
	}
	if k.MetadataSize > 0 {
		fmt.Fprintf(w, "    sealed metadata   %d bytes\n", k.MetadataSize)
	}
}
