#!/usr/bin/env bash
# Sweeps through a real SLURM: slurmctld, two slurmd ("machines" one and two) and munge, all on this machine.
#
#   scripts/slurm.sh                  every check, seven minutes on two cores
#   scripts/slurm.sh sweep nodes      some of: sweep preempt kill cancel batch nodes
#
#   sweep    hydra/launcher=submitit_slurm ends with the same table as the basic launcher
#   preempt  a sweep whose jobs SLURM warns, then throws out for an urgent one: they go on, to the same weights
#   kill     a job is killed (kill -9) on its machine: the sweep notices and has it run again, to the same weights
#   cancel   a job is cancelled: it saves, and the sweep ends without it
#   batch    `sbatch` of one job that is warned, queues itself again and goes on, to the same weights
#   nodes    jobs on two machines each, one SLURM task a machine: a sweep, and a batch script with `srun`
#
# Everything lies in a temporary folder, which goes at the end with all daemons; a SLURM of this machine's own is left
# alone. Needs root, Debian's slurm-wlm and munge, and the extra `submitit`. PYTHON names the interpreter, KEEP=1 keeps
# the folder.
set -euo pipefail
# shellcheck source=scripts/cluster_checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster_checks.sh"

PATH=$PATH:/usr/sbin
[ "$(id -u)" = 0 ] || need "run it as root, as SLURM's daemons are"
for program in slurmctld slurmd sbatch munged; do
  [ -n "$(command -v $program)" ] || need "$program is missing: apt-get install slurm-wlm munge"
done
need_module hydra_plugins.hydra_submitit_launcher submitit

# A job of half a minute: several epochs, each of many steps.
long=("${short[@]}" task.n_train=200 diversity=8 training.epochs=3 training.evaluate_every=3)
slurm=(hydra/launcher=submitit_slurm hydra.launcher.partition=main hydra.launcher.timeout_min=30)

# -- the checks ----------------------------------------------------------------------------------------------------

check_sweep() {
  check_launcher sweep "${slurm[@]}"
}

check_preempt() {
  local job
  uninterrupted
  start preempt -m "${long[@]}" seed=0,1 "${slurm[@]}" hydra.sweep.dir=preempt
  wait_for 180 training 'preempt/0-*' || fail "job 0 has not begun to train" preempt.out preempt.err
  job=$(squeue -h -o %F | head -n 1)
  scancel --signal=USR2 "${job}_0" # what SLURM sends ahead of a job's time limit, and submitit answers
  wait_for 120 attempts 2 'preempt/0-*' || fail "job 0 did not start again after the warning" preempt/0-*/log.txt
  wait_for 180 training 'preempt/0-*'
  sbatch --partition=urgent --nodes=2 --exclusive --output=/dev/null --wrap 'sleep 1' > urgent.out
  wait_for 180 attempts 3 'preempt/0-*' ||
    fail "job 0 did not start again after the urgent one" preempt.out preempt.err slurmctld.log
  wait "$sweep" || fail "the sweep that was preempted" preempt.out preempt.err
  same_table preempt uninterrupted
  same_weights 'preempt/0-*' 'uninterrupted/0-*'
  same_weights 'preempt/1-*' 'uninterrupted/1-*'
}

check_kill() {
  local job
  uninterrupted
  start kill -m "${long[@]}" seed=0,1 "${slurm[@]}" hydra.sweep.dir=kill
  wait_for 180 training 'kill/0-*' || fail "the job has not begun to train" kill.out kill.err
  job=$(squeue -h -o '%K %A' | awk '$1 == 0 { print $2 }')
  # shellcheck disable=SC2046  # several numbers
  kill -9 $(scontrol listpids "$job" | awk 'NR > 1 && $1 > 0 { print $1 }')
  wait_for 240 attempts 2 'kill/0-*' || fail "nobody noticed that the job was killed" kill.out kill.err
  wait "$sweep" || fail "the sweep whose job was killed" kill.out kill.err
  same_table kill uninterrupted
  same_weights 'kill/0-*' 'uninterrupted/0-*'
}

check_cancel() {
  start cancel -m "${long[@]}" seed=0,1 "${slurm[@]}" hydra.sweep.dir=cancel
  wait_for 180 training 'cancel/0-*' || fail "job 0 has not begun to train" cancel.out cancel.err
  scancel "$(squeue -h -o %F | head -n 1)_0"
  wait_for 240 gone "$sweep" || fail "the sweep waits for a job that was cancelled" cancel.out cancel.err
  ! wait "$sweep" || fail "the sweep says that all is done" cancel.out cancel.err
  grep -q 'job 0 stopped' cancel.out || fail "the job did not stop cleanly" cancel.out cancel.err
  grep -q 'job 1 complete' cancel.out || fail "the other job is not done" cancel.out cancel.err
}

check_batch() {
  local job
  uninterrupted
  # The job is the batch script's own process, so that the warning (B: for batch) reaches it.
  cat > job.sh << 'JOB'
#!/usr/bin/env bash
#SBATCH --partition=main --time=30 --requeue --signal=B:USR1@120 --open-mode=append --output=batch.out
exec "$PYTHON" -m ftcot.run "$@"
JOB
  job=$(PYTHON=$PYTHON FTCOT_CACHE=$work/cache-batch sbatch --parsable job.sh "${long[@]}" seed=0 hydra.run.dir=batch)
  wait_for 180 training batch || fail "the job has not begun to train" batch.out
  scancel --batch --signal=USR1 "$job"
  wait_for 180 attempts 2 batch || fail "the job did not queue itself again" batch.out slurmctld.log
  wait_for 180 ended "$job" || fail "the job does not end" batch.out
  [ "$(state_of "$job")" = COMPLETED ] || fail "SLURM says $(state_of "$job")" batch.out
  same_weights batch 'uninterrupted/0-*'
}

check_nodes() {
  local both=("${short[@]}" trainer=ddp trainer.accelerator=cpu trainer.devices=1 trainer.num_nodes=2) folder
  ftcot nodes -m "${both[@]}" seed=0,1 "${slurm[@]}" hydra.launcher.nodes=2 hydra.sweep.dir=nodes \
    > nodes.out 2> nodes.err || fail "the sweep on two machines" nodes.out nodes.err
  [ "$(jobs_in nodes | wc -l)" = 2 ] || fail "there are not two job folders"
  FTCOT_CACHE=$work/cache-srun sbatch --wait --nodes=2 --ntasks-per-node=1 --output=srun.out > /dev/null \
    --wrap "srun $PYTHON -m ftcot.run ${both[*]} seed=0 hydra.run.dir=srun" || fail "the batch script" srun.out
  for folder in nodes/0-* nodes/1-* srun; do
    "$PYTHON" - "$folder" << 'CHECK' || fail "$folder is not a complete job of two ranks" "$folder/log.txt"
import json, sys
from pathlib import Path

folder = Path(sys.argv[1])
status, score = (json.loads((folder / name).read_text()) for name in ("status.json", "score.json"))
predictions = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
asked = {(row["epoch"], row["sample_index"]) for row in predictions}
assert (status["state"], score["devices"]) == ("complete", 2), (status["state"], score.get("devices"))
assert len(asked) == len(predictions) == 2 * 16, len(predictions)
CHECK
  done
  same_weights 'nodes/0-*' srun
  [ "$(find nodes/.submitit -name '*_1_log.out' | wc -l)" = 2 ] || fail "the second machine had no part in it" nodes.out
}

uninterrupted() { # the jobs of `preempt`, `kill` and `batch`, with nobody to disturb them
  [ -d uninterrupted ] || ftcot uninterrupted -m "${long[@]}" seed=0,1 hydra.sweep.dir=uninterrupted \
    > uninterrupted.out 2>&1 || fail "the undisturbed sweep" uninterrupted.out
}

# FOLDER may be a pattern, as a run folder's name ends in the hash of its job; hence no quotes within.
# shellcheck disable=SC2086
training() { # FOLDER: whether this attempt has finished an epoch
  tac $1/log.txt 2> /dev/null | sed '/ worker [0-9]* ──$/q' | grep -q '^epoch '
}

# shellcheck disable=SC2086
attempts() { # N FOLDER: whether the job has been started that often
  [ "$(cat $2/log.txt 2> /dev/null | grep -c ' worker [0-9]* ──$')" -ge "$1" ]
}

# shellcheck disable=SC2086
same_weights() {
  cmp $1/student/model.safetensors $2/student/model.safetensors || fail "$1 and $2 have different weights"
}

state_of() { scontrol show job "$1" | grep -o 'JobState=[A-Z]*' | cut -d= -f2; }
ended() { [[ $(state_of "$1") =~ ^(COMPLETED|FAILED|CANCELLED|TIMEOUT)$ ]]; }

# -- the cluster ---------------------------------------------------------------------------------------------------

start_cluster() {
  local host port_ctld port_one port_two
  host=$(hostname -s)
  read -r port_ctld port_one port_two < <(free_ports 3)
  mkdir -m 755 munge state spool
  (umask 077 && head -c 128 /dev/urandom > munge/key)
  # cred_expire is also how many seconds a job that was queued again has to wait; 120 if nothing is said, 5 at least.
  cat > "$SLURM_CONF" << CONF
ClusterName=ftcot
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port_ctld
SlurmUser=root
AuthInfo=socket=$work/munge/socket,cred_expire=5
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool/%n
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd-%n.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=one NodeHostname=$host NodeAddr=127.0.0.1 Port=$port_one CPUs=2 RealMemory=1000
NodeName=two NodeHostname=$host NodeAddr=127.0.0.1 Port=$port_two CPUs=2 RealMemory=1000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2
CONF
  # --force: run by root, munged only warns of folders such as /tmp that others may write to.
  munged --key-file="$work/munge/key" --socket="$work/munge/socket" --pid-file="$work/munge/pid" \
    --seed-file="$work/munge/seed" --log-file="$work/munge/log" --force 2> munge/said || fail "munged" munge/said
  slurmctld
  slurmd -N one
  slurmd -N two
  wait_for 30 idle || fail "SLURM did not start" munge/log slurmctld.log slurmd-one.log slurmd-two.log
}

idle() { [ "$(sinfo -h -N -p main -o %T 2> /dev/null | sort | uniq -c | tr -s ' ')" = " 2 idle" ]; }

stop_cluster() {
  local file pid
  scancel --user=root 2> /dev/null || true
  wait_for 40 queue_empty || true # SLURM gives half a minute to what does not heed SIGTERM
  for file in "$work"/slurmd-*.pid "$work/slurmctld.pid" "$work/munge/pid"; do
    [ -s "$file" ] || continue
    pid=$(cat "$file")
    kill "$pid" 2> /dev/null || true
    wait_for 20 gone "$pid" || kill -9 "$pid" || true
  done
}

queue_empty() { [ -z "$(squeue -h 2> /dev/null)" ]; }

[ $# -gt 0 ] || set -- sweep preempt kill cancel batch nodes
for name; do
  declare -F "check_$name" > /dev/null || need "no check called $name: sweep preempt kill cancel batch nodes"
done
workplace slurm stop_cluster
export SLURM_CONF=$work/slurm.conf
start_cluster
for name; do
  started=$SECONDS
  "check_$name"
  echo "$name: passed in $((SECONDS - started)) s"
done
