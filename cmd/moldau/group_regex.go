package main

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"

	"github.com/spf13/cobra"
)

func newGroupValidateRegex(w world) *cobra.Command {
	return &cobra.Command{
		Use:   "validate-regex REGEX",
		Short: "Say whether members of type consumer can subscribe with an expression",
		Long: "Say whether members of groups of type consumer can subscribe with a regular expression. The broker takes those of\n" +
			"RE2, which has no look-around and no references back. No broker is asked.",
		Example: "  moldau group validate-regex 'rides-.*'",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := regexp.Compile(args[0]); err != nil {
				var at *syntax.Error
				if errors.As(err, &at) {
					return fmt.Errorf("the expression %q is not valid: %s: %q", args[0], at.Code, at.Expr)
				}
				return fmt.Errorf("the expression %q is not valid: %w", args[0], err)
			}
			fmt.Fprintf(w.stdout, "the expression %q is valid\n", args[0])
			return nil
		},
	}
}
