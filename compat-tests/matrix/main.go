// Command matrix prints what the last run of every client program has shown, client by scenario, and of every story of
// consumer groups. It fails when one has failed or was not run.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"moldau.io/moldau/compat-tests/groups"
	"moldau.io/moldau/compat-tests/harness"
)

func main() {
	bad := 0
	fmt.Printf("%-20s", "client")
	for i := range harness.Scenarios {
		fmt.Printf(" %3d ", i+1)
	}
	fmt.Println()
	for _, client := range harness.Clients {
		fmt.Printf("%-20s", client)
		passed := verdicts(client)
		for _, scenario := range harness.Scenarios {
			word := "FAIL"
			switch ok, run := passed[scenario]; {
			case slices.Contains(harness.Absent[client], scenario):
				word = "-"
			case run && ok:
				word = "PASS"
			default:
				bad++
			}
			fmt.Printf(" %-4s", word)
		}
		fmt.Println()
	}
	fmt.Println()
	for i, scenario := range harness.Scenarios {
		fmt.Printf("%3d %s\n", i+1, scenario)
	}
	fmt.Println("  - the client has no means for it")
	fmt.Println()
	passed := verdicts("groups")
	for _, story := range groups.Stories {
		word := "PASS"
		if !passed[story.String()] {
			word = "FAIL"
			bad++
		}
		fmt.Printf("groups: %-40s %s\n", story, word)
	}
	if bad > 0 {
		fmt.Fprintf(os.Stderr, "%d failed or were not run\n", bad)
		os.Exit(1)
	}
}

// verdicts reads what the last run of a client's test has left.
func verdicts(client string) map[string]bool {
	passed := map[string]bool{}
	text, err := os.ReadFile(filepath.Join(harness.Cache(), "verdicts", client+".json"))
	if err != nil {
		return passed // not run, which is printed as failed
	}
	var list []harness.Verdict
	if err := json.Unmarshal(text, &list); err != nil {
		fmt.Fprintln(os.Stderr, client, err)
		return passed
	}
	for _, v := range list {
		passed[v.Scenario] = v.Passed
	}
	return passed
}
