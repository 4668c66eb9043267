"""A process that buys a task's completions, for tests that kill it: `python -m tests.api_job STORE URL`."""

from __future__ import annotations

import sys
from pathlib import Path

from ftcot.teacher import Diversity, Session
from ftcot.teacher.api import Api
from ftcot.teacher.prompting import Prompting
from ftcot.teacher.store import CompletionStore
from tests.generated_tasks import build

DEGREE = 3
TASK = build("coin_flip", n_train=200, n_test=4)


def teacher(url: str) -> Api:
    return Api(model="model", base_url=url, n=1, concurrency=32, prompting=Prompting(style="single_call"))


if __name__ == "__main__":
    store = CompletionStore(Path(sys.argv[1]))
    bought = teacher(sys.argv[2]).complete(TASK, TASK.splits().train, Diversity(DEGREE, 0.7), Session(store))
    print(len(bought))
