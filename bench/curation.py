"""How fast completions are scored and curated, on one core: `python -m bench.curation --data FOLDER`.

    scored       a text with an answer to what each scorer reads in it and its verdict; `all`: the three scorers, and
                 whether the text contains the answer, as an epoch's evaluation has them
    judged       a teacher's completion to the same with its verdict, by the paper's rule (the first time)
    curated      judged completions, held in memory, to training pairs: filter=answer, D = 8, the token template, counts
    described    what the figures of a job cost beyond that (equations, distinct rationales, diversity), in seconds
    end to end   `completions.jsonl` to `examples.jsonl`, as the pipeline's `curate` does it; of that, what the JSON of
                 both takes; and the peak of resident memory

The texts are recorded ones: of each task those of text-davinci-002 that are in FOLDER/recorded, greedy ones with the
answers' texts and those drawn at T = 0.7, with new sample indices as often as it takes. Rates are completions a second
of processor time, medians over the rounds. --against FOLDER measures another checkout beside this one, in the same
rounds, each in processes of its own, one after the other; ratios are medians over the rounds, too.

--stream N curates N completions out of a pipe, so that no file of that size is kept, and says how much memory it took.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DEGREE = 8
MARKER = "-->"
SCORED = ("paper", "strict", "lenient")

Figures = dict[str, float]


# -- what is measured: run in a process of its own, with the one or the other checkout on the path ---------------------


class Recorded:
    """The recorded completions of a task, and their questions, again and again under new sample indices."""

    def __init__(self, data: Path, task: str) -> None:
        from ftcot.records import Completion, Sample

        self.samples: list[Sample] = []
        self.completions: list[Completion] = []
        """By question, at most D of each."""
        questions: dict[str, list[dict[str, Any]]] = {}
        for path in recordings(data, task):
            with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
                for row in map(json.loads, file):
                    questions.setdefault(row["question"], []).append(row)
        for index, (question, rows) in enumerate(questions.items()):
            self.samples.append(Sample(task, 1, index, question, str(rows[0]["answer"]), "train"))
            for draw, row in enumerate(rows[:DEGREE]):
                self.completions.append(
                    Completion(
                        *(task, 1, index, draw, row["prompt"], row["rationale"]),
                        answer_prompt=row.get("answer_prompt"),
                        # Of the drawn ones the answers' texts were not kept, only that they were right.
                        answer_text=row.get("answer_text") or f" {row['answer']}.",
                        teacher={"name": "text-davinci-002", "temperature": 0.7, "recording": "bench"},
                    )
                )

    def more(self, n: int) -> Iterator[Any]:
        """So many completions."""
        from dataclasses import replace

        for copy in itertools.count():
            for completion in self.completions:
                if n == 0:
                    return
                n -= 1
                yield replace(completion, sample_index=completion.sample_index + copy * len(self.samples))

    def lines(self, completions: Sequence[Any], n: int) -> Iterator[bytes]:
        """So many lines, of these completions."""
        from ftcot.records import to_line

        parts = [
            to_line(completion).partition(f'"sample_index": {completion.sample_index},') for completion in completions
        ]
        for at in range(n):
            copy, place = divmod(at, len(parts))
            before, _, after = parts[place]
            index = completions[place].sample_index + copy * len(self.samples)
            yield f'{before}"sample_index": {index},{after}'.encode()


class Questions(Mapping[Any, Any]):
    """The samples of so many copies, by key, made when they are asked for: those of ten million completions would be
    a gigabyte, and it is not their memory that is measured."""

    def __init__(self, samples: Sequence[Any], copies: int) -> None:
        self._samples, self._copies = samples, copies

    def __len__(self) -> int:
        return len(self._samples) * self._copies

    def __iter__(self) -> Iterator[Any]:
        task, version, _ = self._samples[0].key
        return ((task, version, index) for index in range(len(self)))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and key[2] < len(self)

    def __getitem__(self, key: Any) -> Any:
        from dataclasses import replace

        return replace(self._samples[key[2] % len(self._samples)], sample_index=key[2])


def recordings(data: Path, task: str) -> list[Path]:
    """The files with completions of a task."""
    places = (f"text-davinci-002/{task}.jsonl", f"text-davinci-002-t70/{task}.jsonl.gz")
    return [path for place in places if (path := data / "recorded" / place).exists()]


def tasks(data: Path) -> list[str]:
    """Those that were recorded."""
    paths = (data / "recorded" / "text-davinci-002").glob("*.jsonl")
    return sorted(path.name.removesuffix(".jsonl") for path in paths if path.name.count(".") == 1)


def seconds(work: Callable[[], object], times: int = 1) -> float:
    """Of the processor, the least of so many times."""
    took = []
    for _ in range(times):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return min(took)


def measure(data: Path, task: str, n: int) -> Figures:
    """All rates of one task; a checkout that curates no streams is measured as it is."""
    from ftcot import answers, curation
    from ftcot.answers import SCORERS
    from ftcot.completions.questions import compose
    from ftcot.curation import Curation, judge
    from ftcot.prompts import TEMPLATES
    from ftcot.records import Completion, read_records, write_records
    from ftcot.teacher import Diversity

    recorded = Recorded(data, task)
    kind = compose([f"task={task}"]).task.answer
    said = list(recorded.more(n))
    copies = 1 + said[-1].sample_index // len(recorded.samples)
    samples = list(Questions(recorded.samples, copies).values())
    gold = {sample.key: sample.answer for sample in samples}
    texts = [(f"{c.rationale.strip()} {MARKER}{c.answer_text}", gold[c.sample_key]) for c in said]
    figures: Figures = {}

    def score(*names: str) -> Callable[[], None]:
        scorers = [SCORERS[name] for name in names]

        def run() -> None:
            for text, answer in texts:
                for scorer in scorers:
                    scorer.read(kind, text, MARKER, answer)

        return run

    def score_all() -> None:
        # Of a kind; of the module, in checkouts before.
        contains = getattr(kind, "contains", None) or partial(answers.contains, kind)  # type: ignore[attr-defined]
        for text, answer in texts:
            for name in SCORED:
                SCORERS[name].read(kind, text, MARKER, answer)
            contains(text, answer)

    for name in SCORED:
        figures[f"scored, {name}"] = n / seconds(score(name), 3)
    figures["scored, all"] = n / seconds(score_all, 3)
    figures["judged"] = n / seconds(lambda: judge(said, samples, kind, "first"), 3)
    judged = judge(said, samples, kind, "first")
    template = TEMPLATES["fine_tune_cot"]["token"]["decoder"]
    rest: Any = (template, Diversity(DEGREE, 0.7), Curation(), None)

    def curating(*, described: bool) -> Any:
        by_key = {sample.key: sample for sample in samples}
        return curation.Curating(by_key, *rest, **({} if described else {"described": 0}))

    def curate(*, described: bool) -> float:
        if hasattr(curation, "Curating"):
            way = curating(described=described)
            return seconds(lambda: (list(way.examples(judged)), way.counts()))
        with undescribed(described):
            return seconds(lambda: curation.curate(samples, judged, *rest))

    plain = min(curate(described=False) for _ in range(3))
    figures["curated"] = n / plain
    figures["judged and curated"] = n / (plain + n / figures["judged"])
    figures["described, seconds"] = curate(described=True) - plain
    with tempfile.TemporaryDirectory(prefix="ftcot-bench-") as scratch:
        source, target = Path(scratch, "completions.jsonl"), Path(scratch, "examples.jsonl")
        write_records(source, judged)

        def end_to_end(*, described: bool) -> None:
            if hasattr(curation, "Curating"):
                from ftcot.records import stream_records

                way = curating(described=described)
                write_records(target, way.examples(stream_records(source, Completion)))
                way.counts()
            else:
                with undescribed(described):
                    done = curation.curate(samples, read_records(source, Completion), *rest)
                write_records(target, done.examples)

        figures["end to end"] = n / seconds(lambda: end_to_end(described=True))
        took = seconds(lambda: end_to_end(described=False), 3)
        lines = source.read_text(encoding="utf-8").split("\n")[:-1]
        pairs = [json.loads(line) for line in target.read_text(encoding="utf-8").split("\n")[:-1]]
        parsing = seconds(lambda: [json.loads(line) for line in lines], 3)
        writing = seconds(lambda: [json.dumps(pair, ensure_ascii=False) for pair in pairs], 3)
        figures["end to end, but the figures"] = n / took
        figures["of that JSON, %"] = 100 * (parsing + writing) / took
    figures["JSON, microseconds"] = 1e6 * (parsing + writing) / n
    return figures


@contextmanager
def undescribed(described: bool) -> Iterator[None]:
    """A checkout that describes every completion, kept from it."""
    from ftcot import curation

    kept = curation.statistics, curation.diversity_of  # type: ignore[attr-defined]
    if not described:
        curation.statistics = lambda said: kept[0](said[:1])  # type: ignore[attr-defined]
        curation.diversity_of = lambda _: kept[1](())  # type: ignore[attr-defined]
    try:
        yield
    finally:
        curation.statistics, curation.diversity_of = kept  # type: ignore[attr-defined]


def stream(data: Path, task: str, n: int) -> Figures:
    """Curate so many completions out of a pipe."""
    from ftcot.completions.questions import compose
    from ftcot.curation import Curating, Curation, judge
    from ftcot.prompts import TEMPLATES
    from ftcot.records import Completion, stream_records, write_records
    from ftcot.teacher import Diversity

    recorded = Recorded(data, task)
    kind = compose([f"task={task}"]).task.answer
    judged = judge(recorded.completions, recorded.samples, kind, "first")
    with tempfile.TemporaryDirectory(prefix="ftcot-bench-") as scratch:
        pipe, target = Path(scratch, "completions.jsonl"), Path(scratch, "examples.jsonl")
        os.mkfifo(pipe)
        writer = os.fork()  # another process: its time is not counted
        if writer == 0:
            with pipe.open("wb", buffering=1 << 20) as file:
                file.writelines(recorded.lines(judged, n))
            os._exit(0)
        copies = 1 + n // len(judged)
        template = TEMPLATES["fine_tune_cot"]["token"]["decoder"]
        samples = Questions(recorded.samples, copies)
        way = Curating(samples, template, Diversity(DEGREE, 0.7), Curation(), None)  # type: ignore[arg-type]
        before = peak_mib()
        with heartbeat(way):
            took = seconds(lambda: write_records(target, way.examples(stream_records(pipe, Completion))))
        counting = seconds(way.counts)
        assert way.counts()["completions"] == n
        os.waitpid(writer, 0)
        return {
            "completions": n,
            "pairs": way.counts()["kept"],
            "a second": n / took,
            "seconds for the figures at the end": counting,
            "peak MiB before": before,
            "peak MiB": peak_mib(),
            "GiB written": target.stat().st_size / 2**30,
        }


class heartbeat:  # noqa: N801 (it reads as a word)
    """Says on stderr every minute how far a long stream is."""

    def __init__(self, way: Any) -> None:
        self._way, self._over = way, threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _tell(self) -> None:
        while not self._over.wait(60):
            print(f"  {self._way._kept:,} pairs, peak {peak_mib():,.0f} MiB", file=sys.stderr, flush=True)


def peak_mib() -> float:
    """Of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# -- how it is measured ------------------------------------------------------------------------------------------------


def child(checkout: Path, *words: str) -> Any:
    """The figures that this program finds with another checkout's `ftcot`."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), *words]
    done = subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.curation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("FTCOT_DATA"), help="the data folder")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--n", type=int, default=20_000, help="completions of each task")
    parser.add_argument("--tasks", nargs="*", metavar="TASK", help="only these")
    parser.add_argument("--stream", type=int, nargs="*", default=[], metavar="N", help="curate so many out of a pipe")
    parser.add_argument("--child", choices=("measure", "stream"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.data is None or not (Path(given.data) / "recorded").is_dir():
        parser.error("--data: a folder with recorded/ in it is needed (or FTCOT_DATA)")
    data = Path(given.data).resolve()
    if given.child is not None:
        if given.child == "measure":
            print(json.dumps({task: measure(data, task, given.n) for task in given.tasks}))
        else:
            print(json.dumps(stream(data, given.tasks[0], given.n)))
        return
    print(about())
    chosen = given.tasks if given.tasks is not None else tasks(data)
    checkouts = [ROOT, *([given.against.resolve()] if given.against else [])]
    found: dict[tuple[str, Path], list[Figures]] = {}
    words = ("--child", "measure", "--data", str(data), "--n", str(given.n), "--tasks", *chosen)
    for number in range(given.rounds if chosen else 0):
        for checkout in checkouts:
            for task, figures in child(checkout, *words).items():
                found.setdefault((task, checkout), []).append(figures)
            print(f"  round {number + 1}, {checkout.name}", file=sys.stderr, flush=True)
    if found:
        show(found, chosen, checkouts, given.n, given.rounds)
    for n in given.stream:
        task = chosen[0] if chosen else "multiarith"
        figures = child(ROOT, "--child", "stream", "--data", str(data), "--tasks", task, "--n", str(n))
        print(f"stream of {n:,}, {task}: " + ", ".join(f"{name} {value:,.1f}" for name, value in figures.items()))


def show(
    found: Mapping[tuple[str, Path], Sequence[Figures]],
    chosen: Sequence[str],
    checkouts: Sequence[Path],
    n: int,
    rounds: int,
) -> None:
    """The medians, and how many times the other checkout's they are."""
    names = list(next(iter(found.values()))[0])
    for name in names:
        print(f"\n{name} (median of {rounds}, {n:,} completions a task)")
        for task in chosen:
            values = [[figures[name] for figures in found[task, checkout]] for checkout in checkouts]
            line = f"  {task:28s}" + "".join(f"{median(each):14,.2f}" for each in values)
            if len(values) > 1 and min(values[1]) > 0:
                ratio = median(ours / theirs for ours, theirs in zip(*values, strict=True))
                line += f"{ratio:10.2f} x"
            print(line)


def about() -> str:
    """The machine and the version, in a line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return f"{platform.system()}, {platform.machine()}, {cores} cores, load {load}; Python {platform.python_version()}"


if __name__ == "__main__":
    main()
