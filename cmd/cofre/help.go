package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// topics are pages of help that belong to no verb.
func topics() []*cobra.Command {
	page := func(name, short, long string) *cobra.Command {
		return &cobra.Command{Use: name, Short: short, Long: long}
	}
	return []*cobra.Command{
		page("exit-codes", "What the exit codes mean", `Exit codes

    0  done
    1  any other failure
    2  usage: flags, arguments, malformed names
    3  not found: store, table, key, snapshot, root key, backup, repository
    4  another process has the store open, or writes to the repository
    5  root key inaccessible: denied, unreadable, wrong, out of reach
    6  corruption, and faults that verify found
    7  import took some entries and skipped others that were bad
  130  interrupted`),
		page("json", "What --json prints", `JSON

With --json, standard output holds one JSON document a run, or JSON Lines, one
object a line, where a verb gives any number of things:

  a document   init, import, put, get, delete, stats, export -o,
               table create|describe|drop, snapshot create|drop,
               keys status|rotate-root|rotate-table|add-root|remove-root|
                 reencrypt|retire|lock|unlock|schedule|keep,
               keys recovery add|open,
               kms create|describe|disable|enable|rotate,
               kms schedule-deletion|cancel-deletion, kms alias set,
               kms grant, kms seal|unseal,
               audit head|restart,
               backup create|show|verify|prune|remove|pin|unpin|copy|rewrap|stats,
               restore
  JSON Lines   scan, export, table list, snapshot list, keys roots, kms list,
               kms grants, kms alias list, inspect, verify,
               audit show|verify,
               backup list|diff|archive|check-storage

verify and audit verify print an object with "type":"fault", "warning" or
"unverified" (a table whose root key is not to be had) for each finding, and one
with "type":"summary" at the end.

Keys and values are strings, "key" and "value", where they are UTF-8 and not
mostly control characters; else they are base64, "key_b64" and "value_b64".
Ids and wrapped keys are hexadecimal, times RFC 3339, sizes bytes.

Errors, hints and notes stay on standard error, one object a line:
{"error":…,"hint":…,"exit":…} and {"note":…}.

Without --json, a key or value that is not printable text is shown as a Go
string literal, such as "a\x00b"; so is one that begins with a quotation mark.
The lines of "import --ack" have the same form.`),
	}
}

// noVerb refuses arguments of a command that only holds others.
func noVerb(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s has no verb %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// nameArgs has every verb below a command say which arguments it takes, where their
// number is wrong.
func nameArgs(c *cobra.Command) {
	for _, verb := range c.Commands() {
		nameArgs(verb)
		check := verb.Args
		if check == nil || verb.HasSubCommands() {
			continue
		}
		verb.Args = func(cmd *cobra.Command, args []string) error {
			if check(cmd, args) == nil {
				return nil
			}
			_, takes, ok := strings.Cut(strings.TrimSuffix(cmd.UseLine(), " [flags]"), cmd.CommandPath()+" ")
			if !ok {
				takes = "no argument"
			}
			return fmt.Errorf("%s takes %s; here it has %s", cmd.CommandPath(), takes, plural(len(args), "argument"))
		}
	}
}

// version is what the Go toolchain recorded about this build.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown)"
	}
	return info.Main.Version
}
