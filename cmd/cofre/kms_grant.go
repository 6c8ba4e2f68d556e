package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

// A kmsGrant is a grant as it is printed.
type kmsGrant struct {
	ID            keyring.ID              `json:"id"`
	Key           string                  `json:"key"`
	Grantee       string                  `json:"grantee"`
	Retiring      string                  `json:"retiring,omitempty"`
	Operations    []string                `json:"operations"`
	ContextEquals local.EncryptionContext `json:"context_equals,omitempty"`
	ContextSubset local.EncryptionContext `json:"context_subset,omitempty"`
	CreatedAt     time.Time               `json:"created_at"`
}

func kmsGrantOf(g local.Grant) *kmsGrant {
	return &kmsGrant{g.ID, g.Key, g.Grantee, g.Retiring, g.Operations.Names(), g.ContextEquals, g.ContextSubset, g.CreatedAt}
}

// constraint says in one line which context a grant asks for.
func (g *kmsGrant) constraint() string {
	word, pairs := "context equals", g.ContextEquals
	if len(pairs) == 0 {
		word, pairs = "context has", g.ContextSubset
	}
	if len(pairs) == 0 {
		return "any context"
	}
	var text []string
	for _, k := range slices.Sorted(maps.Keys(pairs)) {
		text = append(text, safeLine(fmt.Sprintf("%s=%s", k, pairs[k])))
	}
	return word + " " + strings.Join(text, ", ")
}

func (g *kmsGrant) write(w io.Writer) {
	fmt.Fprintf(w, "grant     %s\nroot key  %s\ngrantee   %s\n", g.ID, g.Key, g.Grantee)
	if g.Retiring != "" {
		fmt.Fprintf(w, "retiring  %s\n", g.Retiring)
	}
	fmt.Fprintf(w, "allows    %s\n          with %s\n", strings.Join(g.Operations, ", "), g.constraint())
}

func (a *app) kmsGrantCommand() *cobra.Command {
	var g local.Grant
	var ops []string
	var equals, subset map[string]string
	c := &cobra.Command{
		Use:   "grant NAME --to PRINCIPAL --operations OPERATION,…",
		Short: "Allow somebody else than the owner to use a root key",
		Long: `Allows the principal that --to names to use a root key: for the operations that
are named, and, with --context-equals or --context-subset, in an encryption
context that has exactly these pairs, or these among others.

The operations are Wrap, Unwrap, Encrypt, Decrypt,
GenerateDataKeyWithoutPlaintext, ReEncryptFrom, ReEncryptTo and DescribeKey. A
store takes Wrap and Unwrap, and its context has cofre:store=ID, which "cofre
stats" shows.

The principal may give the grant back with "kms retire-grant", and so may the one
that --retiring names; the owner revokes it with "kms revoke".

A principal is whoever says so, with --principal. Grants guard from mistakes of
those who may use the key service. They do not bind who can read an unsealed
file, or has what a sealed one is sealed by.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withKeyService(cmd, func(s *local.Service) (err error) {
				if g.Operations, err = local.ParseOperations(ops); err != nil {
					return err
				}
				g.ContextEquals, g.ContextSubset = equals, subset
				made, err := s.CreateGrant(cmd.Context(), args[0], g)
				if err != nil {
					return err
				}
				shown := kmsGrantOf(made)
				return a.print(shown, shown.write)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&g.Grantee, "to", "", "who may use the key")
	f.StringVar(&g.Retiring, "retiring", "", "who else may give the grant back")
	f.StringSliceVar(&ops, "operations", nil, "what is allowed")
	f.StringToStringVar(&equals, "context-equals", nil, "the pairs that the context has, and no others: key=value,…")
	f.StringToStringVar(&subset, "context-subset", nil, "pairs that the context has, among others: key=value,…")
	return c
}

func (a *app) kmsGrantsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "grants [NAME]",
		Short: "List the grants of a root key, or of all",
		Long: `Lists the grants of a root key, or of all.

A store makes two for each table itself, and gives them back: one lets
cofre:STORE wrap and unwrap the table's key, the other lets cofre-archive:STORE
unwrap it for the table's last archive, until 42 days after the table was dropped.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withKeyService(cmd, func(s *local.Service) error {
				all, err := s.ListGrants(strings.Join(args, ""))
				if err != nil {
					return err
				}
				rows := make([]*kmsGrant, len(all))
				for i, g := range all {
					rows[i] = kmsGrantOf(g)
				}
				return printRows(a, "GRANT\tKEY\tGRANTEE\tOPERATIONS\tCONTEXT", rows, func(g *kmsGrant) string {
					return strings.Join([]string{g.ID.String(), g.Key, g.Grantee, strings.Join(g.Operations, ", "), g.constraint()}, "\t")
				})
			})
		},
	}
}

func (a *app) kmsRevokeCommand() *cobra.Command {
	return a.grantVerb("revoke", "Take a grant away", (*local.Service).RevokeGrant)
}

func (a *app) kmsRetireGrantCommand() *cobra.Command {
	return a.grantVerb("retire-grant", "Give a grant back, as its grantee or retiring principal", (*local.Service).RetireGrant)
}

func (a *app) grantVerb(use, short string, do func(*local.Service, context.Context, keyring.ID) error) *cobra.Command {
	return &cobra.Command{
		Use: use + " GRANT", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := keyring.ParseID(args[0])
			if err != nil {
				return &failure{exitUsage, fmt.Errorf("grant: %w", err), `"cofre kms grants" shows the grants`}
			}
			return a.withKeyService(cmd, func(s *local.Service) error { return do(s, cmd.Context(), id) })
		},
	}
}
