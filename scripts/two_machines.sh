#!/usr/bin/env bash
# One job over two "machines": network namespaces of this one, each with its own address, joined by a cable (veth).
# Both are given the same command. In training, all processes of the second machine are killed; then, in a second
# attempt, the cable is cut; the third attempt finishes. Every attempt goes on from the checkpoint of the one before.
#
#   scripts/two_machines.sh [FOLDER]     needs root, iproute2, and ftcot's python as $PYTHON or `python3`
#
# Without a FOLDER everything lies in a temporary one, which goes at the end.

set -euo pipefail

python=${PYTHON:-python3}
repository=$(cd "$(dirname "$0")/.." && pwd)
if [ $# -gt 0 ]; then
  folder=$(mkdir -p "$1" && cd "$1" && pwd)
else
  folder=$(mktemp -d) && temporary=$folder
fi
run=$folder/run
export PYTHONPATH=$repository${PYTHONPATH:+:$PYTHONPATH} OMP_NUM_THREADS=1

job=(
  trainer=ddp trainer.accelerator=cpu trainer.devices=1 trainer.num_nodes=2
  student=tiny-0.2m task.n_train=320 task.n_test=16 diversity=1
  training.epochs=6 training.truncation_limit=1 evaluation.max_new_tokens=16
  logger=csv "paths.cache=$folder/cache" "hydra.run.dir=$run"
)

machines=("ftcot-$$-1" "ftcot-$$-2")
declare -a launchers=()

clean() {
  for machine in "${machines[@]}"; do
    ip netns pids "$machine" 2>/dev/null | xargs -r kill -9 || true
    ip netns delete "$machine" 2>/dev/null || true
  done
  [ -z "${temporary-}" ] || rm -rf "$temporary"
}
trap clean EXIT

fail() {
  echo "FAILED: $*" >&2
  tail -n 5 "$folder"/machine-*.txt >&2 || true
  exit 1
}

build() {
  for machine in "${machines[@]}"; do
    ip netns add "$machine"
    ip -n "$machine" link set lo up
  done
  ip link add cable netns "${machines[0]}" type veth peer name cable netns "${machines[1]}"
  for index in 0 1; do
    ip -n "${machines[index]}" address add "10.77.0.$((index + 1))/24" dev cable
    ip -n "${machines[index]}" link set cable up
  done
  echo "two machines: 10.77.0.1 and 10.77.0.2"
}

start() { # the same command on both
  launchers=()
  for index in 0 1; do
    ip netns exec "${machines[index]}" env "FTCOT_NODE_RANK=$index" \
      "$python" -m ftcot.run "${job[@]}" >"$folder/machine-$((index + 1)).$1.txt" 2>&1 &
    launchers+=($!)
  done
}

epochs() { # how many are in the metrics
  { tail -n +2 "$run/metrics.csv" 2>/dev/null || true; } | wc -l
}

until_epoch() {
  for _ in $(seq 1200); do
    if (($(epochs) >= $1)); then
      return
    fi
    kill -0 "${launchers[0]}" 2>/dev/null || fail "the job ended before epoch $1"
    sleep 0.1
  done
  fail "epoch $1 did not come"
}

ends() { # exit code and time of a launcher that must not go on for more than a minute
  local began=$SECONDS code=0
  wait "${launchers[$1]}" || code=$?
  echo "  machine $(($1 + 1)) ended with exit code $code, $((SECONDS - began)) s later"
  ((code == $2)) || fail "machine $(($1 + 1)): exit code $code, not $2"
  ((SECONDS - began <= 60)) || fail "machine $(($1 + 1)) took more than a minute"
}

field() { # of status.json
  "$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$run/status.json" "$1"
}

rm -rf "$run" "$folder/cache"
build

echo "first attempt: all processes of machine 2 are killed after epoch 1"
start 1
until_epoch 1
ip netns pids "${machines[1]}" | xargs kill -9
ends 0 1
wait "${launchers[1]}" || true
echo "  status: $(field state), $(field cause)"
[[ $(field cause) == "machine 2 of 2 is gone" ]] || fail "the cause"
[[ -z $(ip netns pids "${machines[0]}") ]] || fail "processes are left on machine 1"

echo "second attempt: the cable is cut two epochs later"
before=$(epochs)
start 2
until_epoch $((before + 2))
ip -n "${machines[1]}" link set cable down
ends 0 1
ends 1 1
echo "  status: $(field state), $(field cause)"
[[ $(field cause) == "machine 2 of 2 is gone" ]] || fail "the cause"
for machine in "${machines[@]}"; do
  [[ -z $(ip netns pids "$machine") ]] || fail "processes are left on $machine"
done
ip -n "${machines[1]}" link set cable up

echo "third attempt: undisturbed"
start 3
for index in 0 1; do
  wait "${launchers[index]}" || fail "machine $((index + 1)) failed"
done

"$python" - "$run" <<'PYTHON'
import csv, json, re, sys
from collections import Counter
from pathlib import Path

run = Path(sys.argv[1])
status, score = (json.loads((run / name).read_text()) for name in ("status.json", "score.json"))
assert status["state"] == "complete", status["state"]
assert score["devices"] == 2, score["devices"]
epochs = [int(row["epoch"]) for row in csv.DictReader((run / "metrics.csv").open())]
assert epochs == [1, 2, 3, 4, 5, 6], epochs
log = (run / "log.txt").read_text()
assert len(re.findall(r"^── .* worker \d+ ──$", log, re.MULTILINE)) == 3, "one writer an attempt"
assert log.count("epoch 1/6") == 1, "epoch 1 was trained once"
predictions = Counter((row["epoch"], row["sample_index"]) for row in map(json.loads, (run / "predictions.jsonl").open()))
assert len(predictions) == 6 * 16 and set(predictions.values()) == {1}, "each test question once an epoch"
assert not (run / "rendezvous.json").exists()
PYTHON

echo "and once more, when it is done:"
start 4
for index in 0 1; do
  wait "${launchers[index]}" || fail "machine $((index + 1)) failed"
  grep "reused from" "$folder/machine-$((index + 1)).4.txt" | sed "s/^/  machine $((index + 1)): /"
done
echo "OK: one job over two machines, killed, cut off and continued; six epochs, each trained once"
