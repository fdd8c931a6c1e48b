package group

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// Limits of an expression. Kafka has none beside those of a request; a member could keep its coordinator busy with one.
const (
	regexBytesMax        = 32 << 10
	regexInstructionsMax = 32 << 10
	// regexSlowMax is for expressions with word boundaries, which take longer.
	regexSlowMax = 500
)

// pattern is an expression that chooses topics by their whole names. The syntax is that of RE2/J 1.8, which Kafka uses,
// and which is Go's but for this:
//
//   - Go refuses, and so do we: repetitions of repetitions beyond 1000, nesting deeper than 1000, and an escaped
//     character outside of ASCII, which no topic has in its name.
//   - Go takes, and so do we: an operator behind a brace that is a character, as in {*, the characters [: in a class that
//     do not begin a name, as in [[:], and names of character classes that are newer than RE2/J or in another case, as in
//     \p{greek}.
//
// On what both take they agree about every name.
type pattern struct {
	whole *regexp.Regexp
	size  int        // instructions of its program
	fast  *automaton // nil when the expression has word boundaries
}

// compilePattern makes a pattern. The text of the error is RE2/J's, as far as it knows the fault.
func compilePattern(expression string) (pattern, error) {
	if len(expression) > regexBytesMax {
		return pattern{}, errRegexLarge
	}
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return pattern{}, regexFault(err)
	}
	if names := tree.CapNames(); duplicates(names) {
		return pattern{}, errRegexNames
	}
	// The text of the tree also has no quotation that is open at its end.
	tree = uncaptured(tree)
	expression = tree.String()
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return pattern{}, regexFault(err)
	}
	fast := newAutomaton(prog)
	if n := len(prog.Inst); n > regexInstructionsMax || fast == nil && n > regexSlowMax {
		return pattern{}, errRegexLarge
	}
	whole, err := regexp.Compile(`\A(?:` + expression + `)\z`)
	if err != nil {
		return pattern{}, regexFault(err)
	}
	return pattern{whole, len(prog.Inst), fast}, nil
}

// uncaptured is the tree without groups that remember what they matched. For each place in the expression that a match is at,
// there is room for what all of them have remembered, which for many is as much as the square of the expression.
func uncaptured(re *syntax.Regexp) *syntax.Regexp {
	for i, sub := range re.Sub {
		re.Sub[i] = uncaptured(sub)
	}
	if re.Op == syntax.OpCapture {
		return re.Sub[0]
	}
	return re
}

// matches says whether the whole name fits.
func (p pattern) matches(name string) bool {
	if p.fast != nil {
		if fits, known := p.fast.matches(name); known {
			return fits
		}
	}
	return p.whole.MatchString(name)
}

var (
	errRegexLarge = errors.New("expression too large")
	errRegexNames = errors.New("duplicate capture group name")
	errRegexParen = errors.New("regexp/syntax: internal error")
)

// regexFault is what RE2/J calls a fault: what Go does, without the place, but for a parenthesis that nothing opens.
func regexFault(err error) error {
	var e *syntax.Error
	switch {
	case !errors.As(err, &e):
		return err
	case e.Code == syntax.ErrUnexpectedParen:
		return errRegexParen
	}
	return errors.New(string(e.Code))
}

// shown is an expression as an answer repeats it: not much of one that is too large.
func shown(expression string) string {
	if len(expression) > regexBytesMax {
		return strings.ToValidUTF8(expression[:100], "") + "..."
	}
	return expression
}

func duplicates(names []string) bool {
	names = slices.DeleteFunc(slices.Sorted(slices.Values(names)), func(s string) bool { return s == "" })
	return len(slices.Compact(slices.Clone(names))) < len(names)
}
