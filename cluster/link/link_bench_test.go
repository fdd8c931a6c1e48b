package link

import "testing"

// BenchmarkLargeMessage sends messages of 32 MiB, as snapshots of the metadata are at most.
func BenchmarkLargeMessage(b *testing.B) {
	for name, key := range keys {
		b.Run(name, func(b *testing.B) {
			from, err := Listen(b.Context(), Config{Addr: "127.0.0.1:0", Key: key})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = from.Close() }()
			to, err := Listen(b.Context(), Config{Addr: "127.0.0.1:0", Key: key})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = to.Close() }()
			arrived := make(chan struct{}, 1)
			to.OnMessage("m", func(Peer, []byte) { arrived <- struct{}{} })
			body := make([]byte, 32<<20)
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if !from.Send(to.Addr(), "m", body) {
					b.Fatal("no room")
				}
				<-arrived
			}
		})
	}
}
