#!/usr/bin/env bash
# Logging to a W&B server, checked against a real one on loopback: online, stopped and continued, offline and synced,
# mirrored. Outside CI: the server is a third party's (openwandb, licence CC-BY-NC), fetched into a temporary
# environment of its own, and neither needed nor shipped by ftcot. It has no sweeps, reports or custom charts.
#
#     scripts/wandb_server_check.sh            prints a line for each check; exit code 1 if one fails
set -euo pipefail

python=${PYTHON:-python}
port=${PORT:-8765}
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server"; fi; rm -rf "$work"' EXIT

"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install -qq openwandb
"$work/venv/bin/openwandb" serve --host 127.0.0.1 --port "$port" --data-dir "$work/data" >"$work/server.log" 2>&1 &
server=$!
for _ in $(seq 60); do curl --silent --output "$work/index" "http://127.0.0.1:$port/" && break; sleep 0.5; done

cd "$work"
export PYTHONPATH="$here" FTCOT_CACHE="$work/cache" HOME="$work/home" OMP_NUM_THREADS=1
export WANDB_BASE_URL="http://127.0.0.1:$port" WANDB_API_KEY="local$(printf '0%.0s' $(seq 40))"
unset WANDB_MODE WANDB_RUN_ID WANDB_SWEEP_ID
job=(task.n_train=64 task.n_test=8 diversity=1 student=tiny-0.2m training.epochs=40 training.evaluate_every=20
    training.truncation_limit=1 evaluation.max_new_tokens=8 trainer=cpu trainer.log_every_n_steps=1)

ftcot() { "$python" -m ftcot.run "${job[@]}" "$@" >>"$work/runs.log" 2>&1; }

stopped() { # FOLDER OVERRIDE...: a run that is asked to stop in the middle of its training
    local folder=$1
    shift
    "$python" -m ftcot.run "${job[@]}" hydra.run.dir="$folder" "$@" >>"$work/runs.log" 2>&1 &
    local pid=$!
    until [ -f "$folder/metrics.csv" ] && [ "$(wc -l <"$folder/metrics.csv")" -gt 8 ]; do sleep 0.2; done
    kill -TERM "$pid"
    wait "$pid" || [ $? -eq 143 ]
}

echo "online, from start to end"
ftcot hydra.run.dir=online seed=1
echo "online, stopped and continued"
stopped continued seed=2
ftcot hydra.run.dir=continued seed=2
echo "offline, stopped and continued, then wandb sync of both parts"
export WANDB_MODE=offline
stopped offline seed=3
ftcot hydra.run.dir=offline seed=3
unset WANDB_MODE
"$python" -m wandb sync offline/wandb/offline-run-* >>"$work/runs.log" 2>&1
echo "logger=csv, then ftcot.mirror"
ftcot hydra.run.dir=csv seed=4 logger=csv
"$python" -m ftcot.mirror csv >>"$work/runs.log" 2>&1

"$python" - "$WANDB_BASE_URL" "$WANDB_API_KEY" <<'PYTHON'
import base64, json, sys, urllib.request

base, key = sys.argv[1:]
failed = False


def get(path):
    request = urllib.request.Request(base + path)
    request.add_header("Authorization", "Basic " + base64.b64encode(f"api:{key}".encode()).decode())
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def check(name, found, expected):
    global failed
    failed |= found != expected
    print(f"  ok    {name}: {found}" if found == expected else f"  FAIL  {name}: {found}, expected {expected}")


runs = {run["config"]["job"]["value"]["seed"]: run for run in get("/api/v2/projects/default/ftcot/runs")["runs"]}
check("runs in the project", sorted(runs), [1, 2, 3, 4])
for seed, name in enumerate(("online", "continued", "offline", "csv"), start=1):
    print(name)
    score = json.load(open(f"{name}/score.json"))
    about = json.load(open(f"{name}/status.json"))
    run = runs[seed]
    check("id is the job's hash", run["run_id"], about["hash"])
    check("state", run["state"], "finished")
    check("accuracy", run["summary"].get("score/accuracy"), score["accuracy"])
    check("parameters in the config", run["config"]["job"]["value"].get("n_parameters"), about["counts"]["parameters"])
    points = get(f"/api/v2/runs/{run['run_id']}/metrics")["metrics_by_key"]
    for key, last in (("epoch/epoch", 40), ("train/step", 160)):
        if name != "csv" or key == "epoch/epoch":  # a run folder keeps no points between epochs
            whole = sorted(point["value"] for point in points.get(key, [])) == list(range(1, last + 1))
            check(f"{key} from 1 to {last}, each once", whole, True)
    # The server takes no inputs (wandb's own use_artifact fails there too), so the dataset is not among them.
    artifacts = get(f"/api/v2/runs/{run['run_id']}/artifacts")["artifacts"]
    kinds = sorted({artifact["artifact_type"] for artifact in artifacts})
    check("artifacts", kinds, ["model", "run_table"])
sys.exit(failed)
PYTHON
