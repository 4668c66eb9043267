#!/usr/bin/env bash
# A sweep through a real Ray cluster (`ray start --head`, token authentication) ends with the same table as through the
# basic launcher. About a minute on two cores. The cluster lies in a temporary folder and ends with this script.
#
# Needs the extra `ray`. PYTHON names the interpreter, KEEP=1 keeps the folder.
set -euo pipefail
# shellcheck source=scripts/cluster_checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster_checks.sh"

need_module hydra_plugins.hydra_ray_launcher ray

# Whoever can reach a Ray cluster can run code on it: only those who know the token may.
RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$("$PYTHON" -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0

start_cluster() {
  read -r port < <(free_ports 1)
  # In the foreground of a process of ours: `ray stop` would end every cluster of this user.
  "$PYTHON" -m ray.scripts.scripts start --head --block --node-ip-address=127.0.0.1 --port="$port" --num-cpus=2 \
    --min-worker-port=0 --max-worker-port=0 --include-dashboard=false --object-store-memory=100000000 \
    --temp-dir="$work/ray" > ray.log 2>&1 &
  ray=$!
  wait_for 120 started || fail "the Ray cluster did not start" ray.log
}

started() {
  ! gone "$ray" || fail "the Ray cluster did not start" ray.log
  grep -q 'Ray runtime started' ray.log
}

stop_cluster() {
  [ -n "${ray:-}" ] || return 0
  local members
  members=$(pgrep -f -- "$work/ray" || true)
  kill "$ray" 2> /dev/null || true
  for pid in $ray $members; do
    wait_for 20 gone "$pid" || kill -9 "$pid" || true
  done
}

workplace ray stop_cluster
start_cluster
check_launcher sweep hydra/launcher=ray "hydra.launcher.ray.init.address=127.0.0.1:$port"
echo "passed in $SECONDS s"
