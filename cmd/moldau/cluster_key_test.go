package main

import "testing"

func TestOnlyThisMachineReachesLoopback(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:9190": true, "127.9.9.9:0": true, "[::1]:9190": true, "localhost:9190": true, "": true,
		"10.0.0.3:9190": false, "[fe80::1]:9190": false, "0.0.0.0:9190": false, ":9190": false, "broker1:9190": false,
	} {
		if got := loopback(addr); got != want {
			t.Errorf("%q: %v", addr, got)
		}
	}
}
