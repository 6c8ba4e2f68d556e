// Command cofre keeps tables in an encrypted store, from a shell.
//
//	cofre import --store ./demo src.go ./src     a directory tree, CSV, JSON Lines
//	cofre get    --store ./demo src.go net/http/server.go
//	cofre scan   --store ./demo src.go --prefix net/http/
//	cofre verify --store ./demo
//
// Every verb is listed by "cofre help", and "cofre help VERB" says all of one.
// "cofre help keys", "cofre help json" and "cofre help exit-codes" hold for all
// of them.
//
// # Root keys
//
// A store opens with its root key, which lies outside of it: in the local key
// service, a file ($XDG_CONFIG_HOME/cofre or the platform's like; --keys or
// COFRE_KEYS names another), under a name (--key, "default"). With
// --passphrase-file it is derived from a passphrase instead. "init" and
// "import" make the root key of a new store on first use and say so on
// standard error. But for "kms create" no other verb makes a key: where an
// existing store's key is not to be had, the answer is "key not found" and
// nothing is written. Tables may have different root keys ("keys rotate-root"), and
// several of them ("keys add-root"); then --key names all that are needed. A recovery
// key ("keys recovery add") opens a store with a printed sheet alone; its public key
// lies beside the key service's file.
//
// The key service's file may be sealed ("kms seal"). What opens it is named
// with --keys-passphrase-file, --keys-key-file or --keys-credential, or their
// variables COFRE_KEYS_PASSPHRASE_FILE and so on; for a passphrase that nothing
// names it asks on a terminal.
//
// # Output
//
// What was asked for goes to standard output; notes, progress and errors go
// to standard error. An error is one line of facts and one line that begins
// with "hint:". Errors never show a value. With --json, standard output is one
// JSON document, or JSON Lines where a verb gives many things, and errors and
// notes are JSON objects, one a line.
//
// # Exit codes
//
//	  0  done
//	  1  any other failure
//	  2  usage: flags, arguments, malformed names
//	  3  not found: store, table, key, snapshot, root key, backup, repository
//	  4  another process has the store open, or writes to the repository
//	  5  root key inaccessible: denied, unreadable, wrong, out of reach
//	  6  corruption, and faults that verify found
//	  7  import took some entries and skipped others that were bad
//	130  interrupted
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/keyring/recovery"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is the command but for the process around it. It returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the second signal ends the process at once

	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, interrupted: ctx.Done()}
	root := a.command()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	verb, err := root.ExecuteContextC(ctx)
	a.verb = verb.CommandPath()
	if err != nil && !a.began {
		err = &usageError{err} // cobra refused flags or arguments
	}
	return a.report(ctx, err)
}

// An app is one run of the command: its streams and the flags of all verbs.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	interrupted    <-chan struct{} // closed when the run is to end

	store          string
	keys           string
	keyNames       []string
	passphraseFile string
	keysSeal       sealFlags
	principal      string
	recovery       string
	recoveryMade   bool               // the verb makes the file of --recovery, if there is none
	identity       *recovery.Identity // from a sheet, for the verb that has read it; else nil
	json           bool
	quiet          bool

	began bool   // a verb runs: flags and arguments were right
	verb  string // that was run, with all its words, once it has ended
}

// command builds the tree of verbs.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "cofre",
		Short:         "An encrypted table store",
		Long:          "Cofre keeps tables in a directory in which every byte is sealed.\nIts root key lies outside of the store.",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noVerb,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.began = true
			return nil
		},
	}
	f := root.PersistentFlags()
	f.StringVar(&a.store, "store", os.Getenv("COFRE_STORE"), "the store's directory (COFRE_STORE)")
	f.StringVar(&a.keys, "keys", os.Getenv("COFRE_KEYS"), "the local key service's file (COFRE_KEYS)")
	f.StringSliceVar(&a.keyNames, "key", []string{"default"}, "names of root keys: first that of a new store or table, then others that tables have")
	f.StringVar(&a.passphraseFile, "passphrase-file", "", "derive the root key from the passphrase in this file")
	a.keysSeal.register(f)
	f.StringVar(&a.principal, "principal", os.Getenv("COFRE_PRINCIPAL"), "who asks the local key service, for its grants; the owner if nobody is named (COFRE_PRINCIPAL)")
	f.StringVar(&a.recovery, "recovery", os.Getenv("COFRE_RECOVERY"), "the file with the public keys of recovery keys (COFRE_RECOVERY; default recovery.pub beside the key service's file)")
	f.BoolVar(&a.json, "json", false, "print JSON; see \"cofre help json\"")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "print no progress and no closing notes")
	// The defaults hold what the environment says; help shows none of it.
	f.Lookup("store").DefValue = ""
	f.Lookup("keys").DefValue = ""
	f.Lookup("principal").DefValue = ""
	f.Lookup("recovery").DefValue = ""

	root.AddCommand(
		a.initCommand(), a.importCommand(), a.exportCommand(), a.tableCommand(),
		a.putCommand(), a.getCommand(), a.deleteCommand(), a.scanCommand(),
		a.snapshotCommand(), a.keysCommand(), a.kmsCommand(), a.auditCommand(),
		a.backupCommand(), a.restoreCommand(), a.inspectCommand(), a.verifyCommand(), a.statsCommand(),
	)
	root.AddCommand(topics()...)
	completeWords(root)
	nameArgs(root)
	return root
}

// group makes a command that only holds others.
func group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: noVerb,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(verbs...)
	return c
}
