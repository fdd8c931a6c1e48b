#!/usr/bin/env bash
# kcat, which is librdkafka on the command line: see ../scenarios.md. It has no admin API, so that its topic is made by
# the broker at the first request for it, with one partition.
set -euo pipefail
bootstrap=$1 topic=$2-topic group=$2-group phase=$3
records=60
filler=$(printf 'x%.0s' {1..200})
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# scenario NAME COMMAND...: runs one scenario and prints its verdict. The first failure ends the program.
scenario() {
  local name=$1
  shift
  if (set -e; "$@") 2>"$dir/err"; then
    echo "ok $name"
  else
    cat "$dir/err" >&2
    echo "fail $name: $(tail -1 "$dir/err")"
    exit 1
  fi
}

# lines TAG: the records of a producing scenario as kcat prints them: key, header, value.
lines() {
  for ((i = 0; i < records; i++)); do echo "$1-$i codec=$1 $1:$i:$filler"; done
}

create_topic() {
  # The first answers may say that there is no such topic yet.
  for _ in {1..50}; do
    if kcat -b "$bootstrap" -L -t "$topic" -X allow.auto.create.topics=true | grep -q 'partition 0, leader 1'; then return; fi
  done
  echo "the topic was not made" >&2
  return 1
}

produce() { # TAG CODEC [OPTION...]
  lines "$1" | sed 's/ codec=[^ ]* / /' |
    kcat -P -b "$bootstrap" -t "$topic" -K ' ' -H "codec=$1" -z "$2" -X acks=all "${@:3}" >&2
  lines "$1" >>"$dir/written"
}

# same A B: whether two files have the same lines.
same() { diff <(sort "$1") <(sort "$2") | head -5 >&2 && cmp -s <(sort "$1") <(sort "$2"); }

read_back() {
  kcat -C -b "$bootstrap" -t "$topic" -o beginning -e -q -f '%k %h %s\n' >"$dir/all"
  same "$dir/all" "$dir/written"
}

# read_in_group N: a member of the group reads N records, commits on leaving, and adds them to what the group has read.
read_in_group() {
  timeout 60 kcat -b "$bootstrap" -G "$group" -c "$1" -q -f '%k %h %s\n' -X auto.offset.reset=earliest "$topic" >>"$dir/read"
}

resume() {
  read_in_group $((6 * records - 100))
  same "$dir/read" "$dir/written"
}

after_restart() {
  produce again zstd -X enable.idempotence=true
  read_in_group "$records"
  same "$dir/read" "$dir/written"
}

if [ "$phase" = second ]; then
  scenario after-restart after_restart
  exit
fi
scenario create-topic create_topic
for codec in none gzip snappy lz4 zstd; do
  scenario "produce-$codec" produce "$codec" "$codec"
done
scenario produce-idempotent produce idempotent none -X enable.idempotence=true
scenario read-back read_back
scenario group-commit read_in_group 100
scenario group-resume resume
