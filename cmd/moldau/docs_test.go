package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// wordsOf splits a line of a shell that has no more than quotes, a comment and a redirection.
func wordsOf(line string) []string {
	line, _, _ = strings.Cut(line, "#")
	line, _, _ = strings.Cut(line, " > ")
	line, _, _ = strings.Cut(line, " >> ")
	line = strings.TrimSuffix(strings.TrimSpace(line), "&")
	var list []string
	for _, w := range regexp.MustCompile(`'[^']*'|\S+`).FindAllString(line, -1) {
		list = append(list, strings.Trim(w, "'"))
	}
	return list
}

// Every command of moldau that the documents name on a line of its own has the flags that they give it.
func TestDocumentedCommandsAreThere(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	seen := 0
	for _, file := range append(files, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		shell := strings.Join(regexp.MustCompile("(?ms)^```sh$.*?^```$").FindAllString(string(text), -1), "\n")
		for _, m := range regexp.MustCompile(`(?m)^(?:echo .*\| )?moldau (.*)$`).FindAllStringSubmatch(shell, -1) {
			words := wordsOf(m[1])
			cmd, rest, err := newRoot(world{}).Find(words)
			if err != nil || !cmd.Runnable() {
				t.Errorf("%s: moldau %s: %v", file, m[1], err)
				continue
			}
			if err := cmd.ParseFlags(rest); err != nil {
				t.Errorf("%s: moldau %s: %v", file, m[1], err)
			} else if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
				t.Errorf("%s: moldau %s: %v", file, m[1], err)
			}
			seen++
		}
	}
	if seen < 20 {
		t.Errorf("only %d commands were found", seen)
	}
}
