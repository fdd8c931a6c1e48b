package script

import (
	"strings"
	"testing"
)

func echo(c Command) string {
	if c.Name == "quiet" {
		return ""
	}
	return strings.ToUpper(c.Name) + " " + strings.Join(c.Args, ",") + " " + c.Opt("k", "none")
}

func TestTranscriptIsTheFileWhenItIsRight(t *testing.T) {
	text := "# about\nsay a b k=1\nquiet\nsay\n----\nSAY a,b 1\nSAY  none\n\n\nquiet\n----\n\n# the end\nquiet\n----\n"
	if got := transcript(text, echo); got != text {
		t.Errorf("got\n%s\nwant\n%s", got, text)
	}
}

func TestTranscriptReplacesOldOutput(t *testing.T) {
	text := "say a\n----\nwrong\nlines\n\nsay b\n----\n"
	want := "say a\n----\nSAY a none\n\nsay b\n----\nSAY b none\n"
	if got := transcript(text, echo); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
