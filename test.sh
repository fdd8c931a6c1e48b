#!/usr/bin/env bash
# Runs every test there is, installing what they need first. Safe to repeat: what is installed is left alone.
# On a fresh Debian machine it needs Go, and root or sudo for Debian's packages.
set -euo pipefail
cd "$(dirname "$0")"

step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

step "set-up: Java, Maven, Python, Node, Apache Kafka's jars, client libraries"
bash compat-tests/setup/setup.sh

step "vet, unit, property, crash and simulation tests"
go vet ./...
go vet -tags compat ./compat-tests/...
go test -timeout 15m ./...

step "fuzz targets, two seconds each"
bash .ci/fuzz 2s

step "real clients, Apache Kafka's tools, differential, scenarios"
go test -tags compat -p 1 -count=1 -timeout 30m -v ./compat-tests/...
go run ./compat-tests/matrix

step "done"
