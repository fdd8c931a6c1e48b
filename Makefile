# What CI runs is `bash test.sh`; the rest are shortcuts for daily work.
.PHONY: build test unit fuzz-short lint compat compat-baseline bench bench-quick bench-storage bench-groups bench-cluster

build: ## one static binary, bin/moldau
	CGO_ENABLED=0 go build -trimpath -o bin/moldau ./cmd/moldau

unit: ## Go tests only: no Java, Python or Node needed
	go vet ./... && go test ./...

test: ## everything, installing what it needs
	bash test.sh

fuzz-short: ## a few seconds of every fuzz target
	bash .ci/fuzz 5s

lint: ## golangci-lint, built from the module proxy on first use
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.5.0 run

bench: ## Go benchmarks of the hot paths
	go test -run '^$$' -bench . -benchmem ./protocol/... ./storage/... ./broker/...

bench-quick: build ## next to Apache Kafka 4.4.0 in one alternating run
	bash compat-tests/setup/setup.sh kafka
	go test -tags bench -count=1 -timeout 60m -run TestQuick -v ./bench/quick

bench-storage: ## the log next to bare system calls: append, read, open, create, crash, fsync
	go test -tags bench -count=1 -timeout 60m -run TestTable -v ./bench/storage

compat: ## real clients, Apache Kafka's tools, the differential, the long scenarios
	bash compat-tests/setup/setup.sh
	go test -tags compat -p 1 -count=1 -timeout 30m ./compat-tests/...
	go run ./compat-tests/matrix

compat-baseline: ## the same against Apache Kafka: what fails there is wrong with the tests
	bash compat-tests/setup/setup.sh
	MOLDAU_COMPAT_BROKER=kafka go test -tags compat -p 1 -count=1 -timeout 60m ./compat-tests/...

bench-groups: build ## how groups come to rest, next to Apache Kafka 4.4.0
	go test -tags compat -count=1 -timeout 20m -run TestSettle -v ./compat-tests/settle

bench-cluster: build ## three brokers next to three of Apache Kafka 4.4.0: failover, acks=all, many topics, idle
	bash compat-tests/setup/setup.sh kafka
	go test -tags bench -count=1 -timeout 90m -run TestCluster -v ./bench/cluster
