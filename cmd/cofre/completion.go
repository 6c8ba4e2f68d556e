package main

import "github.com/spf13/cobra"

// completeWords says what a shell completes beyond verbs and flags: names of
// files where one belongs, and words where there are only a few. Names of
// tables and keys are not completed: that would open the store, and ask for
// its root key, at each press of a key.
func completeWords(root *cobra.Command) {
	words := map[string][]cobra.Completion{
		"format":   {"auto", "tree", "csv", "jsonl", "export"},
		"on-error": {"stop", "skip"},
	}
	files := map[string]bool{
		"keys": true, "passphrase-file": true, "keys-passphrase-file": true, "keys-key-file": true,
		"ack": true, "file": true, "output": true,
	}
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	for _, c := range append(root.Commands(), root) {
		switch c.Name() {
		case "import", "inspect":
			c.ValidArgsFunction = fileNames
		}
		for name, list := range words {
			if c.Flags().Lookup(name) != nil {
				_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp))
			}
		}
		for name := range files {
			if c.Flags().Lookup(name) != nil || c.PersistentFlags().Lookup(name) != nil {
				_ = c.RegisterFlagCompletionFunc(name, fileNames)
			}
		}
	}
	_ = root.MarkPersistentFlagDirname("store")
}

func fileNames(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}
