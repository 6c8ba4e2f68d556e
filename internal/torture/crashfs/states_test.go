package crashfs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// TestStates runs small scenarios. Each lists every state that a crash may
// leave: all that are seen with many seeds, and so no other ever is.
//
//	new [capacity=n] [torn-renames] [on=/,d]
//	  An empty FS; directories made and synced.
//	do
//	  Operations, a line each; a line that fails says with what.
//	    create f | write f A n | writeat f off A n | sync f | syncdata f | syncdir d |
//	    link f g | rename f g | reuse f g | remove f | removeall d | mkdir d | close f |
//	    preallocate f n | syncto f n | fail fault [sticky] | heal |
//	    capacity n
//	crash [style]
//	  From here on, what a random state of the style is.
//	states [style=s] f g …
//	  What the files are after a crash, one line a state: "-" for none, else the
//	  length and each sector: the letter it is full of (A, B, C or S), 0 for
//	  zeros, ? for noise, AB for A with an end of B. Of a directory, "/".
//	see f g …
//	  The same for the files as they are now.
func TestStates(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/states", func(t *testing.T, file string) {
		t.Parallel()
		var d *disk
		datadriven.RunTest(t, file, func(t *testing.T, td *datadriven.TestData) string {
			switch td.Cmd {
			case "new":
				d = newDisk(t, td)
			case "do":
				return d.do(td.Input)
			case "see":
				return see(t, d.fs, args(td)) + "\n"
			case "states":
				return d.states(styles(t, td), args(td))
			case "crash":
				style := Random
				if len(td.CmdArgs) > 0 {
					style = Style(slices.Index(styleNames[:], strings.ReplaceAll(td.CmdArgs[0].Key, "-", " ")))
				}
				d.fs = d.fs.Crash(rand.New(rand.NewPCG(1, 2)), style)
				d.handles = make(map[string]vfs.File)
			default:
				td.Fatalf(t, "unknown command %s", td.Cmd)
			}
			return ""
		})
	})
}

func args(td *datadriven.TestData) (list []string) {
	for _, a := range td.CmdArgs {
		if a.Key != "style" {
			list = append(list, a.Key)
		}
	}
	return list
}

// styles are those of the argument, or all.
func styles(t *testing.T, td *datadriven.TestData) []Style {
	if !td.HasArg("style") {
		return Styles()
	}
	var name string
	td.ScanArgs(t, "style", &name)
	return []Style{Style(slices.Index(styleNames[:], strings.ReplaceAll(name, "-", " ")))}
}

type disk struct {
	t       *testing.T
	fs      *FS
	handles map[string]vfs.File
}

func newDisk(t *testing.T, td *datadriven.TestData) *disk {
	var opts Options
	opts.TornRenames = td.HasArg("torn-renames")
	td.MaybeScanArgs(t, "capacity", &opts.Capacity)
	d := &disk{t: t, fs: New(opts), handles: make(map[string]vfs.File)}
	for _, a := range td.CmdArgs {
		if a.Key == "on" {
			for _, dir := range a.Vals {
				require.NoError(t, d.fs.MkdirAll(dir, 0o755))
				for ; ; dir = path.Dir(dir) {
					require.NoError(t, d.file(dir).Sync())
					if dir == "." || dir == "/" {
						break
					}
				}
			}
		}
	}
	return d
}

// file returns the handle of a file, which stays open until it is closed.
func (d *disk) file(name string) vfs.File {
	f := d.handles[name]
	if f == nil {
		fi, err := d.fs.Stat(name)
		require.NoError(d.t, err)
		if fi.IsDir() {
			f, err = d.fs.OpenDir(name)
		} else {
			f, err = d.fs.OpenReadWrite(name, "")
		}
		require.NoError(d.t, err)
		d.handles[name] = f
	}
	return f
}

func (d *disk) do(input string) string {
	var out strings.Builder
	for line := range strings.Lines(input) {
		if err := d.step(strings.Fields(line)); err != nil {
			fmt.Fprintf(&out, "%s: %v\n", strings.TrimSpace(line), err)
		}
	}
	return out.String()
}

func (d *disk) step(w []string) (err error) {
	num := func(s string) int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		require.NoError(d.t, err)
		return n
	}
	fill := func(letter, n string) []byte { return []byte(strings.Repeat(letter, int(num(n)))) }
	switch w[0] {
	case "create":
		d.handles[w[1]], err = d.fs.Create(w[1], "")
		return err
	case "write":
		_, err = d.file(w[1]).Write(fill(w[2], w[3]))
		return err
	case "writeat":
		_, err = d.file(w[1]).WriteAt(fill(w[3], w[4]), num(w[2]))
		return err
	case "sync", "syncdir":
		return d.file(w[1]).Sync()
	case "syncdata":
		return d.file(w[1]).SyncData()
	case "syncto":
		full, err := d.file(w[1]).SyncTo(num(w[2]))
		require.False(d.t, full)
		return err
	case "preallocate":
		return d.file(w[1]).Preallocate(0, num(w[2]))
	case "link":
		return d.fs.Link(w[1], w[2])
	case "rename":
		d.forget(w[1])
		return d.fs.Rename(w[1], w[2])
	case "reuse":
		d.forget(w[1])
		d.handles[w[2]], err = d.fs.ReuseForWrite(w[1], w[2], "")
		return err
	case "remove":
		d.forget(w[1])
		return d.fs.Remove(w[1])
	case "removeall":
		d.forget(w[1])
		return d.fs.RemoveAll(w[1])
	case "mkdir":
		return d.fs.MkdirAll(w[1], 0o755)
	case "close":
		d.forget(w[1])
	case "fail":
		f := slices.Index(faultNames[:], strings.ReplaceAll(w[1], "-", " "))
		require.Positive(d.t, f)
		n := d.fs.Ops() + 1
		if Fault(f) == ReadEIO {
			n = d.fs.Reads() + 1
		}
		d.fs.FailOp(n, Fault(f), len(w) > 2)
	case "heal":
		d.fs.Heal()
	case "capacity":
		d.fs.SetCapacity(num(w[1]))
	default:
		d.t.Fatalf("unknown operation %q", w)
	}
	return nil
}

func (d *disk) forget(name string) {
	if f := d.handles[name]; f != nil {
		require.NoError(d.t, f.Close())
		delete(d.handles, name)
	}
}

// states lists all states that crashes leave, and checks what holds of each. It
// ends when many seeds have shown nothing new.
func (d *disk) states(styles []Style, names []string) string {
	found := make(map[string]bool)
	m := d.fs.Moment()
	for seed, quiet := uint64(0), 0; quiet < 300; seed++ {
		quiet++
		for _, style := range styles {
			fs := m.Crash(rand.New(rand.NewPCG(seed, uint64(style))), style)
			s := see(d.t, fs, names)
			if !found[s] {
				found[s] = true
				quiet = 0
			}
			if seed < 3 {
				// All that is there is durable, and the same seed does the same.
				require.Equal(d.t, fs.String(), fs.Crash(rand.New(rand.NewPCG(seed, 9)), Random).String())
				require.Equal(d.t, fs.String(), m.Crash(rand.New(rand.NewPCG(seed, uint64(style))), style).String())
			}
		}
	}
	list := make([]string, 0, len(found))
	for s := range found {
		list = append(list, s)
	}
	slices.Sort(list)
	return strings.Join(list, "\n") + "\n"
}

// see says what files are.
func see(t *testing.T, fs *FS, names []string) string {
	var out []string
	for _, name := range names {
		fi, err := fs.Stat(name)
		switch {
		case errors.Is(err, os.ErrNotExist):
			out = append(out, "-")
		case err != nil:
			t.Fatal(err)
		case fi.IsDir():
			out = append(out, "/")
		default:
			out = append(out, letters(contents(t, fs, name)))
		}
	}
	return strings.Join(out, " | ")
}

func letters(s string) string {
	out := fmt.Sprint(len(s)) + ":"
	for len(s) > 0 {
		n := min(len(s), sectorLen)
		out += " " + runs(s[:n])
		s = s[n:]
	}
	return out
}

// runs names the letters of a sector in order. What other bytes are among is
// noise: a question mark, from the first short run on.
func runs(s string) string {
	noisy := strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune("\x00ABCS", r) })
	var out []byte
	for i := 0; i < len(s); {
		k := i
		for k < len(s) && s[k] == s[i] {
			k++
		}
		if noisy && k-i < 4 {
			return string(out) + "?"
		}
		out = append(out, max(s[i], '0'))
		i = k
	}
	return string(out)
}
