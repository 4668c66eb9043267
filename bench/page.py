"""What a large report costs as a page: bytes, seconds to write, first paint, filters, memory.

    python -m bench.page                       200 runs of 1,000 predictions, last and best epoch, 10 with 20 epochs
    python -m bench.page --runs 40 --replaced 0.15

What students say is made from the recorded rationales of text-davinci-002 (T = 0.7, SVAMP and MultiArith, up to 16 a
question): each answer is one of them with a share of its words replaced by others of the recordings, a number by a
number. The best epoch's text is that of the last one, or it with words replaced again, or another rationale. Then a
headless Chromium opens the file, without network. The limits of issue 5: 25 MB, 2 s to the first paint, 200 ms a
filter.
"""

from __future__ import annotations

import argparse
import bisect
import gzip
import itertools
import json
import os
import random
import re
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ftcot.records import Prediction, Sample, to_line
from ftcot.report import cells, charts, comparisons, page
from ftcot.report.model import Found, Questions, Report, Run
from ftcot.report.reading import read
from ftcot.sample_study import KINDS
from tests.report_folders import make_run

FILES = ("svamp.jsonl.gz", "multiarith.jsonl.gz")
WORDS = re.compile(r"\s*[^\W\d_]+|\s*\d+|\s*[^\w\s]|\s+|_")
STUDENTS = ("gpt2", "gpt2-medium", "gpt2-large", "t5-small", "flan-t5-small")
DEGREES = (1, 2, 4, 8)
EPOCHS = 20


class Speech:
    """What students might say to the questions."""

    def __init__(self, folder: Path, n: int, replaced: float) -> None:
        self.random = random.Random(0)
        self.replaced = replaced
        self.questions: list[tuple[str, str]] = []
        self.rationales: list[list[str]] = []
        for name in FILES:
            by_question: dict[int, list[str]] = {}
            for line in gzip.decompress((folder / name).read_bytes()).decode().splitlines():
                row = json.loads(line)
                if row["sample_index"] not in by_question:
                    self.questions.append((row["question"], str(row["answer"])))
                    self.rationales.append(by_question.setdefault(row["sample_index"], []))
                by_question[row["sample_index"]].append(f" {row['rationale'].strip()} --> {row['answer']}")
        del self.questions[n:], self.rationales[n:]
        counts = Counter(word for texts in self.rationales for text in texts for word in WORDS.findall(text))
        self.letters = [word for word in counts if re.search("[^\\W\\d]", word)]
        self.digits = [word for word in counts if re.search("\\d", word)]
        self.cumulated = list(itertools.accumulate(counts[word] for word in self.letters))

    def say(self, question: int) -> str:
        return self.again(self.random.choice(self.rationales[question]))

    def again(self, text: str) -> str:
        """The text with some of its words replaced."""
        chance = self.random.random
        return "".join(self._other(word) if chance() < self.replaced else word for word in WORDS.findall(text))

    def _other(self, word: str) -> str:
        if word.strip().isdigit():
            return self.random.choice(self.digits)
        if word.strip().isalpha():
            return self.letters[bisect.bisect(self.cumulated, self.random.random() * self.cumulated[-1])]
        return word


def make_report(folder: Path, data: Path, n_runs: int, n: int, detail: int, replaced: float) -> tuple[Report, int]:
    """A report of so many runs, and the bytes of all texts that its page will hold."""
    speech = Speech(data, n, replaced)
    samples = {index: Sample("svamp", 1, index, q, a, "test") for index, (q, a) in enumerate(speech.questions)}
    words = ("task=generated/coin_flip", "method=fine_tune_cot")
    [model] = read([make_run(folder / "model", *words, n_questions=10)]).runs
    runs, size = [], 0
    for number in range(n_runs):
        seed, degree = number // (len(STUDENTS) * len(DEGREES)), DEGREES[number % len(DEGREES)]
        student = STUDENTS[number // len(DEGREES) % len(STUDENTS)]
        home = folder / f"{number}-{number:08x}"
        home.mkdir()
        shutil.copy(model.folder / "completions.jsonl", home)
        shutil.copy(model.folder / "examples.jsonl", home)
        best = speech.random.randrange(1, EPOCHS)
        epochs = range(1, EPOCHS + 1) if number < detail else (best, EPOCHS)
        skill = 0.3 + 0.1 * DEGREES.index(degree) + 0.05 * STUDENTS.index(student)
        right, lines = {}, []
        said = [speech.say(question) for question in range(len(samples))]
        for epoch in reversed(epochs):
            right[epoch] = np.array([speech.random.random() < skill for _ in said])
            predictions = [_prediction(*one, epoch) for one in zip(samples.values(), said, right[epoch], strict=True)]
            lines += [to_line(one) for one in predictions]
            size += sum(len(text.encode()) for text in said)
            said = [_earlier(speech, question, text) for question, text in enumerate(said)]
        (home / "predictions.jsonl").write_text("".join(lines))
        runs.append(_run(model, home, number, student, degree, seed, right, best, len(samples)))
    questions = {runs[0].task_key: Questions(samples, samples, dict.fromkeys(samples, 0) | {i: i for i in samples})}
    found = Found(tuple(runs), (), (), 3)
    all_cells = cells.build(runs, questions)
    drawn = charts.build(found, all_cells, {}, questions)
    pairs = comparisons.build(drawn, questions)
    return Report("A large report", found, all_cells, drawn, pairs, questions, "python -m ftcot.report ..."), size


def _earlier(speech: Speech, question: int, text: str) -> str:
    luck = speech.random.random()
    return text if luck < 0.35 else speech.again(text) if luck < 0.7 else speech.say(question)


def _prediction(sample: Sample, text: str, right: bool, epoch: int) -> Prediction:
    right = bool(right)
    return Prediction(
        **{"sample_index": sample.sample_index, "split": "test", "epoch": epoch, "text": text, "answer": sample.answer},
        **{"prediction": sample.answer if right else text.split()[-1], "correct": right, "contains_answer": right},
        **{"verdicts": {"paper": right, "strict": right, "lenient": right}, "formatted": True, "truncated": False},
        **{"n_tokens": 60, "study": "right" if right else tuple(KINDS)[2 + len(text) % 6]},
    )


def _run(
    model: Run, home: Path, number: int, student: str, degree: int, seed: int, right: Any, best: int, n: int
) -> Run:
    last = right[EPOCHS].mean()
    epochs = tuple(
        dict(model.score.epochs[-1]) | {"epoch": epoch, "accuracy": float(row.mean()), "n": n}
        for epoch, row in sorted(right.items())
    )
    score = replace(
        model.score,
        **{"accuracy": float(last), "n": n, "interval": (float(last) - 0.03, float(last) + 0.03), "epoch": EPOCHS},
        **{
            "best_on_test": {"epoch": best, "accuracy": float(right[best].mean())},
            "epochs": epochs,
            "student": student,
        },
    )
    facts = replace(model.facts, task="svamp", student=student, diversity=degree, seed=seed, epochs=EPOCHS)
    job, key = f"{number:064x}", f"{student} {degree}"
    return Run(home, job, key, facts, model.config, model.status, score, tuple(range(n)), right)


LOOK = """async () => {
  const one = (selector) => document.querySelector(selector);
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const timed = async (act) => {
    const start = performance.now();
    act();
    await frame();
    return performance.now() - start;
  };
  const set = (box, text, event) => timed(() => { box.value = text; box.dispatchEvent(new Event(event)); });
  const until = async (test) => {
    const start = performance.now();
    while (!test()) await frame();
    return performance.now() - start;
  };
  const found = {};
  location.hash = "#runs";
  found["runs, opened"] = await until(() => one("#in-runs[data-ready]"));
  found["runs, search"] = await set(one("#find-runs"), "medium", "input");
  const facet = one("#in-runs select");
  found["runs, filter"] = await set(facet, facet.options[1].value, "change");
  found["runs, sort"] = await timed(() => document.querySelectorAll("#runs-table th button")[3].click());
  location.hash = "#items";
  found["questions, opened"] = await until(() => one("#in-items[data-open]"));
  found["questions, search"] = await set(one("#find-questions"), "apples", "input");
  const selects = [...document.querySelectorAll("#in-items select")];
  const show = selects.find((box) => [...box.options].some((option) => option.value === "wrong"));
  found["questions, wrong by all"] = await set(show, "wrong", "change");
  found["questions, kind"] = await set(show, [...show.options].at(-1).value, "change");
  found["questions, search ended"] = await set(one("#find-questions"), "", "input");
  found["questions, all again"] = await set(show, "", "change");
  const open = one("#in-items").dataset.open;
  one("#next").click();
  found["next question"] = await until(() => one("#in-items").dataset.open !== open);
  location.hash = "#compare";
  found["compare, opened"] = await until(() => one("#p-value"));
  return found;
}"""


def look(path: Path) -> dict[str, float]:
    """Milliseconds in a browser, and megabytes of it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        context = browser.new_context()
        context.set_offline(True)
        tab = context.new_page()
        began = time.monotonic()
        tab.goto(path.as_uri(), wait_until="commit")
        tab.wait_for_selector("#in-overview[data-ready]")
        shown = 1000 * (time.monotonic() - began)
        tab.wait_for_load_state("load")
        loaded = 1000 * (time.monotonic() - began)
        paint = tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
        found = {"first paint": paint, "overview shown": shown, "file read": loaded}
        tab.wait_for_selector("html[data-complete]", timeout=120_000)
        found["charts drawn, all made"] = 1000 * (time.monotonic() - began)
        found |= tab.evaluate(LOOK)
        session = context.new_cdp_session(tab)
        session.send("Performance.enable")
        metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        found["heap of scripts, MB"] = metrics["JSHeapUsedSize"] / 1e6
        browser.close()
        return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--detail", type=int, default=10)
    parser.add_argument("--replaced", type=float, default=0.06, help="share of words")
    parser.add_argument("--page", type=Path, help="keep the page here")
    parser.add_argument("--look", type=Path, help="at a page that is there; make none")
    chosen = parser.parse_args(arguments)
    if chosen.look:
        tell(look(chosen.look))
        return
    data = Path(os.environ.get("FTCOT_DATA", "../shared/data")) / "recorded" / "text-davinci-002-t70"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.monotonic()
        report, size = make_report(folder, data, chosen.runs, chosen.questions, chosen.detail, chosen.replaced)
        print(f"{len(report.found.runs)} runs, {size / 1e6:.1f} MB of texts, made in {time.monotonic() - began:.0f} s")
        path = chosen.page or folder / "index.html"
        began = time.monotonic()
        page.write(report, path, detail=chosen.detail)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"written in {time.monotonic() - began:.0f} s, {memory:.0f} MiB at most")
        print(f"{path.stat().st_size / 1e6:.2f} MB, {size / path.stat().st_size:.1f} to 1 with everything in it")
        tell(look(path))


def tell(found: Mapping[str, float]) -> None:
    for what, value in found.items():
        print(f"  {what:28} {value:9.1f}" + ("" if what.endswith("MB") else " ms"))


if __name__ == "__main__":
    main()
