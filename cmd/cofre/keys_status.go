package main

import (
	"fmt"
	"html"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/recovery"
)

func (a *app) keysStatusCommand() *cobra.Command {
	var svg string
	c := &cobra.Command{
		Use:   "status",
		Short: "Show every key of the store, what is under it, and what needs it",
		Long: `Shows the keys of the store as a tree: root keys, and below each table the versions
of its key, newest first.

A version of a table's key wraps the data keys of files. "under it" are the live
files that were sealed while it was the newest: who knows the version reads them,
until "keys reencrypt" or a compaction has made others in their place. "needed by"
is what would not open without it: files whose data key it wraps, and data keys that
were wrapped again, which lie in an overlay. "keys rotate-table" and "keys retire" have
the newest version wrap them all; backups need the versions that their files were made
under. Once nothing needs an older version, "keys retire" destroys it. A table may have
several root keys, and each opens it.

"KEY LOST" is told of a table whose key a program has found refused by its service, if
that program opens the store with a policy for lost keys: the dates are the earliest at
which it archives the table, and drops it. They move on while no such program looks.
"keys keep" stops it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd.Context(), engine.ReadOnly, func(s *engine.Store, _ *rootKeys) error {
				st, err := s.KeyStatus(cmd.Context())
				if err != nil {
					return err
				}
				if svg != "" {
					if err := os.WriteFile(svg, []byte(drawKeys(st)), 0o644); err != nil {
						return err
					}
				}
				return a.print(st, func(w io.Writer) { writeKeys(w, st) })
			})
		},
	}
	c.Flags().StringVar(&svg, "svg", "", "also draw it, into this file")
	return c
}

// writeKeys is the tree.
func writeKeys(w io.Writer, st *engine.KeyStatus) {
	fmt.Fprintf(w, "store %s, keyring generation %d\n", st.StoreID, st.Generation)
	branch, stem := "├─ ", "│  "
	if len(st.Tables) == 0 {
		branch, stem = "└─ ", "   "
	}
	fmt.Fprintf(w, "%slist of tables\n", branch)
	writeRoots(w, stem, st.Roots, "", true)
	for n := range st.Tables {
		t := &st.Tables[n]
		branch, stem := "├─ ", "│  "
		if n == len(st.Tables)-1 {
			branch, stem = "└─ ", "   "
		}
		fmt.Fprintf(w, "%s%s  %s\n", branch, t.Name, tableState(t))
		writeRoots(w, stem, t.Roots, t.Weakest, false)
		writeVersions(w, stem, t)
	}
}

func tableState(t *engine.TableKeyStatus) string {
	parts := []string{plural(t.DataKeys, "data key")}
	if t.Loss != nil {
		parts = append(parts, lossText(t.Loss))
	}
	switch {
	case t.Locked != "":
		parts = append(parts, "LOCKED: "+safeLine(t.Locked))
	case !slices.ContainsFunc(t.Roots, func(r engine.RootStatus) bool { return !unnamed(r) && !recovery.IsRecovery(r.URI) }):
		parts = append(parts, "does not open without its root key, which --key does not name; what follows is by headers alone")
	case t.Err != "":
		parts = append(parts, "does not open, what follows is by headers alone: "+safeLine(t.Err))
	}
	if t.Reencrypting != nil {
		parts = append(parts, "re-encryption begun "+when(*t.Reencrypting)+" is not done")
	}
	if t.Schedule != (engine.Schedule{}) {
		parts = append(parts, scheduleText(t.Schedule))
	}
	if t.Overdue != "" {
		parts = append(parts, "OVERDUE: "+safeLine(t.Overdue))
	}
	return strings.Join(parts, "; ")
}

// lossText says what has become of a lost key, and what comes next.
func lossText(l *engine.KeyLoss) string {
	oneLine := func(s string) string { return strings.ReplaceAll(safeLine(s), "\n", " ") }
	text := "KEY LOST since " + when(l.Since) + ", last found so " + when(l.Seen)
	if l.Archive != "" {
		text += ", archived " + when(*l.ArchivedAt) + " as " + oneLine(l.Archive) + ", verified " + when(*l.VerifiedAt)
	}
	if l.ArchiveAt != nil {
		text += ", archive not before " + when(*l.ArchiveAt)
	}
	if l.DropAt != nil {
		text += ", drop not before " + when(*l.DropAt)
	}
	if l.Kept {
		text += ", kept by hand: neither archived nor dropped"
	}
	if l.Trouble != "" {
		text += ", the next step could not be done: " + oneLine(l.Trouble)
	}
	return text
}

func writeRoots(w io.Writer, stem string, roots []engine.RootStatus, weakest string, last bool) {
	for n, r := range roots {
		branch := "├─ "
		if last && n == len(roots)-1 {
			branch = "└─ "
		}
		fmt.Fprintf(w, "%s%sroot key %s  %s\n", stem, branch, r.URI, rootState(r, weakest))
	}
}

// unnamed tells whether a root key is not described because no flag names it.
func unnamed(r engine.RootStatus) bool { return r.Err == keyring.ErrRootNotPinned.Error() }

func rootState(r engine.RootStatus, weakest string) string {
	switch {
	case unnamed(r) && recovery.IsRecovery(r.URI):
		return "not described: --recovery names no file with its public key"
	case unnamed(r):
		return "not described: --key does not name it"
	case recovery.IsRecovery(r.URI):
		return "recovery key, its private half is on its sheet alone"
	}
	if r.Err != "" {
		return "not described: " + safeLine(r.Err)
	}
	parts := []string{r.State}
	if !r.Sealed {
		parts = append(parts, "unsealed")
	}
	if r.Versions > 1 {
		parts = append(parts, plural(r.Versions, "version"))
	}
	if r.Grants != nil {
		parts = append(parts, plural(*r.Grants, "grant"))
	}
	if r.URI == weakest {
		parts = append(parts, "the weakest")
	}
	return strings.Join(parts, ", ")
}

// writeVersions lists the versions, newest first.
func writeVersions(w io.Writer, stem string, t *engine.TableKeyStatus) {
	for n := len(t.Versions) - 1; n >= 0; n-- {
		v := &t.Versions[n]
		branch, below := "├─ ", "│  "
		if n == 0 {
			branch, below = "└─ ", "   "
		}
		fmt.Fprintf(w, "%s%skey version %d  %s, made %s\n", stem, branch, v.Number, v.State, when(v.CreatedAt))
		if v.Files > 0 {
			fmt.Fprintf(w, "%s%s  under it: %s, %s (%.0f %%), the oldest of %s\n", stem, below,
				plural(v.Files, "live file"), size(v.Bytes), 100*v.Share, when(*v.Oldest))
		}
		if len(v.Snapshots) > 0 {
			fmt.Fprintf(w, "%s%s  under it: files of %s\n", stem, below, counted(v.Snapshots, "snapshot"))
		}
		switch {
		case v.State == "older" && len(v.NeededBy) > 0:
			fmt.Fprintf(w, "%s%s  needed by %s\n", stem, below, few(v.NeededBy))
		case v.State == "older" && t.Err == "":
			fmt.Fprintf(w, "%s%s  needed by nothing: \"cofre keys retire %s %d\" destroys it\n", stem, below, t.Name, v.Number)
		}
	}
}

// counted names a few things of a kind.
func counted(names []string, noun string) string {
	return plural(len(names), noun) + " (" + few(names) + ")"
}

// few names the first things of a list.
func few(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// Measures of the picture, in pixels.
const (
	svgWidth = 960
	svgLine  = 22
	svgBarAt = 560
	svgBar   = 360
)

// drawKeys draws the tree: a line a key, and a bar for the share of the table's
// bytes under each version.
func drawKeys(st *engine.KeyStatus) string {
	var b strings.Builder
	y := 0
	line := func(depth int, class, text string) {
		y += svgLine
		fmt.Fprintf(&b, `<text x="%d" y="%d" class="%s">%s</text>`+"\n", 16+24*depth, y, class, html.EscapeString(safeLine(text)))
	}
	line(0, "head", "store "+st.StoreID.String())
	for _, r := range st.Roots {
		line(1, "root", "list of tables: "+r.URI+"  "+rootState(r, ""))
	}
	for n := range st.Tables {
		t := &st.Tables[n]
		y += svgLine / 2
		line(0, "head", t.Name+"  "+tableState(t))
		for _, r := range t.Roots {
			line(1, "root", r.URI+"  "+rootState(r, t.Weakest))
		}
		for k := len(t.Versions) - 1; k >= 0; k-- {
			v := &t.Versions[k]
			need := ""
			if len(v.NeededBy) > 0 && v.State == "older" {
				need = ", needed"
			}
			line(2, v.State, fmt.Sprintf("version %d  %s%s, made %s", v.Number, v.State, need, v.CreatedAt.UTC().Format(time.DateOnly)))
			if v.Files > 0 {
				fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="12" class="%s"/>`+"\n", svgBarAt, y-11, max(2, v.Share*(svgBar-110)), v.State)
				fmt.Fprintf(&b, `<text x="%d" y="%d" class="note">%s, %s</text>`+"\n", svgWidth-16, y, size(v.Bytes), plural(v.Files, "file"))
			}
		}
	}
	y += svgLine
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="Keys of the store">
<style>
svg { background: #fff } text { font: 13px system-ui, sans-serif; fill: #222 } .head { font-weight: 600 } .note { text-anchor: end; fill: #555 }
.root { fill: #7a4b00 } .retired { fill: #888 } rect.current { fill: #2a7a4b } rect.older { fill: #c98a1b }
@media (prefers-color-scheme: dark) { svg { background: #161616 } text { fill: #eee } .note { fill: #aaa } .root { fill: #e0b060 } .retired { fill: #888 } }
</style>
%s</svg>
`, svgWidth, y, svgWidth, y, b.String())
}
