"""bench.api's load through bespokelabs-curator, run by its environment: `python curator_load.py URL N CONCURRENCY`.

What differs from a plain use of it: its tokenizer, which it downloads, is one token a byte here (there is no network),
and its limits of requests and tokens a minute are out of the way. Time is that of the call that sends and keeps, after
all imports; CPU time is that of the process.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time

os.environ |= {
    "OPENAI_API_KEY": "none",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "HF_HUB_OFFLINE": "1",
}

import tiktoken

tiktoken.get_encoding = lambda name: tiktoken.Encoding(
    name, pat_str=r"[\s\S]+", mergeable_ranks={bytes([byte]): byte for byte in range(256)}, special_tokens={}
)

from bespokelabs import curator  # noqa: E402

url, n, at_once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
words = "Somebody flips the coin. Somebody does not flip the coin. " * 2
rows = [{"prompt": f"A coin is heads up. {words}Question {place}?"} for place in range(n)]


class Load(curator.LLM):
    """One prompt, one text."""

    def prompt(self, row: dict[str, str]) -> str:
        return row["prompt"]

    def parse(self, row: dict[str, str], response: str) -> dict[str, str]:
        return {"text": response}


load = Load(
    model_name="model",
    backend="openai",
    generation_params={"temperature": 0.7, "max_tokens": 128},
    backend_params={
        "base_url": url,
        "max_requests_per_minute": 10_000_000,
        "max_tokens_per_minute": 10_000_000_000,
        "max_concurrent_requests": at_once,
        "max_retries": 3,
    },
)


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


began, used = time.perf_counter(), cpu()
answered = load(rows)
wall, used = time.perf_counter() - began, cpu() - used
told = len(answered.dataset if hasattr(answered, "dataset") else answered)
assert told == n, f"{told} of {n} were answered"
rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"rate": n / wall, "cpu ms": 1000 * used / n, "rss MiB": rss}))
