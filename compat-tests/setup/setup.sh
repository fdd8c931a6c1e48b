#!/usr/bin/env bash
# setup.sh: installs everything that the compatibility tests need beside Go, and nothing twice.
#
# System packages come through apt-get, and only those whose command is missing (that part needs root, or sudo). Everything else
# goes to $XDG_CACHE_HOME/moldau/compat (default ~/.cache/moldau/compat), each part under a stamp of what it was made of:
#
#   jars/broker    Apache Kafka, the broker that moldau is compared with
#   jars/tools     Apache Kafka's command line tools; jars/tools-* are older ones
#   jars/java-*    the Java client, in two versions
#   venv           the Python clients
#   node           the Node clients, and a Node that is new enough for them
#
# Safe to repeat: on a machine that is set up it only compares stamps.
set -euo pipefail
cd "$(dirname "$0")"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/moldau/compat
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9

# stamped PART FILE...: whether PART was installed from exactly these files.
stamp() { sha256sum "$@" | sha256sum | cut -d' ' -f1; }
stamped() {
  local part=$1
  shift
  [ -e "$cache/$part" ] && [ "$(cat "$cache/$part.stamp" 2>/dev/null)" = "$(stamp "$@")" ]
}

missing=()
need() { # command package...
  command -v "$1" >/dev/null || missing+=("${@:2}")
}
need javac openjdk-17-jdk-headless
need mvn maven
need python3 python3 python3-venv
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
need node nodejs
need npm npm
need gcc gcc libc6-dev
need kcat kcat
if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: apt-get install ${missing[*]}"
  as_root=(env DEBIAN_FRONTEND=noninteractive)
  if [ "$(id -u)" != 0 ]; then as_root=(sudo "${as_root[@]}"); fi
  {
    "${as_root[@]}" apt-get update -qq &&
      "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
  } >"$cache/apt.log" 2>&1 || {
    tail -20 "$cache/apt.log" >&2
    exit 1
  }
fi

poms=(maven/pom.xml maven/*/pom.xml)
if ! stamped jars "${poms[@]}"; then
  echo "setup: Apache Kafka, its tools and its Java clients"
  rm -rf "$cache/jars" "$cache/jars.new"
  mvn -q -B -f maven/pom.xml dependency:copy-dependencies "-Djars=$cache/jars.new"
  mv "$cache/jars.new" "$cache/jars"
  stamp "${poms[@]}" >"$cache/jars.stamp"
fi

if ! stamped venv requirements.txt; then
  echo "setup: Python clients"
  rm -rf "$cache/venv"
  python3 -m venv "$cache/venv"
  "$cache/venv/bin/pip" install -q --disable-pip-version-check -r requirements.txt
  stamp requirements.txt >"$cache/venv.stamp"
fi

if ! stamped node node/package.json node/package-lock.json; then
  echo "setup: Node clients"
  rm -rf "$cache/node"
  mkdir -p "$cache/node"
  cp node/package.json node/package-lock.json "$cache/node/"
  (cd "$cache/node" && npm ci --no-audit --no-fund --loglevel=error)
  stamp node/package.json node/package-lock.json >"$cache/node.stamp"
fi
