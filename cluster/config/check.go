package config

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// InvalidError says which key was given which value and what would have been allowed.
type InvalidError struct {
	Key     string
	Value   string
	Allowed string
}

// Error names key and value unless the key is a secret one.
func (e *InvalidError) Error() string {
	if k, ok := Broker(e.Key); ok && k.Sensitive {
		return fmt.Sprintf("invalid value for %s: it must be %s", e.Key, e.Allowed)
	}
	return fmt.Sprintf("invalid value %q for %s: it must be %s", e.Value, e.Key, e.Allowed)
}

// value is a parsed value: exactly one field is used, by the key's type.
type value struct {
	text   string // Boolean, String, Class, Password
	number float64
	whole  int64
	list   []string
}

// A validator is given a value of the right type and says what would be allowed if this one is not.
type validator func(v value) (allowed string, ok bool)

// Check says whether v may be given to the key. The error is an *InvalidError.
func (k *Key) Check(v string) error {
	_, err := k.Canonical(v)
	return err
}

// Canonical checks v and gives it as Kafka describes it: trimmed, numbers and booleans as Java prints them, lists
// without blanks after the commas.
func (k *Key) Canonical(v string) (string, error) {
	parsed, text, err := k.parse(v)
	if err != nil {
		return "", err
	}
	if k.check != nil {
		if allowed, ok := k.check(parsed); !ok {
			return "", &InvalidError{Key: k.Name, Value: v, Allowed: allowed}
		}
	}
	return text, nil
}

var commaAndBlanks = regexp.MustCompile(`[ \t\n\x0B\f\r]*,[ \t\n\x0B\f\r]*`)

// parse is Kafka's ConfigDef.parseType, with the rule of KIP-1161 that a list has no empty
// elements and that repeated ones count once.
func (k *Key) parse(v string) (value, string, error) {
	t := trim(v)
	bad := func(allowed string) (value, string, error) {
		return value{}, "", &InvalidError{Key: k.Name, Value: v, Allowed: allowed}
	}
	switch k.Type {
	case Boolean:
		lower := strings.ToLower(t)
		if lower != "true" && lower != "false" {
			return bad("true or false")
		}
		return value{text: lower}, lower, nil
	case Int, Short, Long:
		bits := map[Type]int{Short: 16, Int: 32, Long: 64}[k.Type]
		n, err := strconv.ParseInt(t, 10, bits)
		if err != nil {
			return bad(k.describe(fmt.Sprintf("a whole number of %d bits", bits)))
		}
		return value{whole: n, number: float64(n)}, strconv.FormatInt(n, 10), nil
	case Double:
		d, err := strconv.ParseFloat(t, 64)
		if (err != nil && !errors.Is(err, strconv.ErrRange)) || math.IsNaN(d) {
			return bad(k.describe("a number"))
		}
		return value{number: d}, javaDouble(d), nil
	case List:
		if t == "" {
			return value{}, "", nil
		}
		var list []string
		seen := map[string]bool{}
		for _, e := range commaAndBlanks.Split(t, -1) {
			if e = trim(e); e == "" && k.Allowed != throttledForm {
				return bad("a comma separated list without empty elements")
			}
			if !seen[e] || k.Allowed == throttledForm {
				list = append(list, e)
				seen[e] = true
			}
		}
		return value{list: list}, strings.Join(list, ","), nil
	default:
		return value{text: t}, t, nil
	}
}

// trim is Java's String.trim: it removes every character up to the blank.
func trim(s string) string { return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' }) }

func (k *Key) describe(kind string) string {
	if k.Allowed == "" {
		return kind
	}
	return kind + " in " + k.Allowed
}

// javaDouble is Java's Double.toString.
func javaDouble(d float64) string {
	if a := math.Abs(d); math.IsInf(d, 0) || (a != 0 && (a < 1e-3 || a >= 1e7)) {
		if math.IsInf(d, 0) {
			return strings.Replace(strconv.FormatFloat(d, 'f', -1, 64), "Inf", "Infinity", 1)
		}
		mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(d, 'E', -1, 64), "E")
		if !strings.Contains(mantissa, ".") {
			mantissa += ".0"
		}
		n, _ := strconv.Atoi(exponent)
		return mantissa + "E" + strconv.Itoa(n)
	}
	s := strconv.FormatFloat(d, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}
