# shellcheck shell=bash
# What slurm.sh and ray.sh share; each of them sources it and then calls `workplace`.
#
# PYTHON names the interpreter (else .venv of this checkout, else python3); KEEP=1 keeps the temporary folder.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ -n "${PYTHON:-}" ] || { PYTHON=$root/.venv/bin/python && [ -x "$PYTHON" ]; } || PYTHON=python3

# Jobs of a second.
short=(logger=none trainer=cpu student=tiny-0.2m task.n_train=64 task.n_test=16 diversity=1 training.epochs=2
  training.truncation_limit=1 evaluation.max_new_tokens=8)

need() { # WHAT: what is missing, in one line
  echo "$0: $*" >&2
  exit 2
}

need_module() { # MODULE EXTRA
  PYTHONPATH=$root "$PYTHON" -c "import ftcot.run, $1" 2> /dev/null ||
    need "$PYTHON cannot import $1: pip install -e '.[$2]', or name another interpreter in PYTHON"
}

workplace() { # NAME CLEAN_UP: a temporary folder to work in; at the end CLEAN_UP is called and the folder goes
  work=$(mktemp -d "${TMPDIR:-/tmp}/ftcot-$1-XXXXXX")
  clean_up=$2
  chmod 755 "$work"
  cd "$work" || exit
  export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} OMP_NUM_THREADS=1 FTCOT_CACHE=$work/cache
  trap finish EXIT
  trap 'exit 130' INT TERM
}

finish() {
  local code=$?
  trap - EXIT
  [ -z "${sweep:-}" ] || gone "$sweep" || { kill "$sweep" && wait_for 20 gone "$sweep"; } || kill -9 "$sweep" || true
  "$clean_up" || true
  cd /
  if [ -n "${KEEP:-}" ]; then echo "kept: $work"; else rm -rf "$work"; fi
  exit $code
}

fail() { # WHAT FILE...: with the end of these files
  local file
  echo "FAILED: $1" >&2
  shift
  for file in "$@"; do
    [ ! -f "$file" ] || { echo "-- $file" && tail -n 25 "$file"; } >&2
  done
  exit 1
}

wait_for() { # SECONDS COMMAND...: until the command is true
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.2
  done
}

gone() { # PID
  ! kill -0 "$1" 2> /dev/null || grep -q '^State:.[ZX]' "/proc/$1/status" 2> /dev/null
}

free_ports() { # N: that many ports nobody uses at the moment, below those that Ray and Linux hand out
  "$PYTHON" -c '
import random, socket, sys
found = []
while len(found) < int(sys.argv[1]):
    port = random.randrange(5000, 9900)
    with socket.socket() as probe:
        if port not in found and probe.connect_ex(("127.0.0.1", port)) != 0:
            found.append(port)
print(*found)' "$1"
}

ftcot() { # CACHE WORD...: the command, with a cache of this name
  FTCOT_CACHE=$work/cache-$1 "$PYTHON" -m ftcot.run "${@:2}"
}

start() { # NAME WORD...: the same in the background, as $sweep; what it says goes to NAME.out and NAME.err
  FTCOT_CACHE=$work/cache-$1 "$PYTHON" -m ftcot.run "${@:2}" > "$1.out" 2> "$1.err" &
  sweep=$!
}

jobs_in() { find "$1" -mindepth 1 -maxdepth 1 -type d -name '[0-9]*'; }

same_table() { # SWEEP OTHER
  "$PYTHON" "$root/scripts/same_table.py" "$@" || fail "the tables are different"
}

check_launcher() { # NAME WORD...: a sweep of four jobs through a launcher and through the basic one
  # shellcheck disable=SC2054  # commas are Hydra's
  local sweep=(-m "${short[@]}" method=fine_tune,fine_tune_cot seed=0,1)
  ftcot "$1" "${sweep[@]}" "${@:2}" "hydra.sweep.dir=$1" > "$1.out" 2> "$1.err" || fail "the sweep" "$1.out" "$1.err"
  ftcot basic "${sweep[@]}" hydra.sweep.dir=basic > basic.out 2> basic.err ||
    fail "the sweep through the basic launcher" basic.out basic.err
  same_table "$1" basic
  [ "$(jobs_in "$1" | wc -l)" = 4 ] || fail "there are not four job folders"
}
