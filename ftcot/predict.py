"""Ask a trained student: `python -m ftcot.predict RUN_FOLDER "question"`, or a file of questions.

    $ python -m ftcot.predict outputs/2026-11-22/10-15-00-ab12 "A coin is heads up. Ann flips it. ..."
    Heads. Ann flips: tails. ...
    answer: no

A file is one question a line, or JSONL with `question`; with --json every answer is one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ftcot import job as jobs
from ftcot.answers import SCORERS
from ftcot.errors import FtcotError, InputError
from ftcot.evaluate import Evaluation, ask
from ftcot.files import read_jsonl
from ftcot.folder import thaw


@dataclass(frozen=True)
class Reply:
    """What the student said to one question."""

    question: str
    text: str
    answer: str | None
    """Extracted by the scorer the run reported; None if there is none."""
    truncated: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        questions = _questions(options)
        replies = predict(options.run_folder, questions, max_new_tokens=options.max_new_tokens)
    except FtcotError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for reply in replies:
        if options.json:
            print(json.dumps(asdict(reply), ensure_ascii=False))
        else:
            heading = f"{reply.question.strip()}\n" if len(replies) > 1 else ""
            cut = " (cut off)" if reply.truncated else ""
            print(f"{heading}{reply.text.strip()}\nanswer: {reply.answer or 'none found'}{cut}")
    return 0


def predict(folder: Path, questions: Sequence[str], max_new_tokens: int | None = None) -> list[Reply]:
    """The replies of a run's student, asked as it was trained.

    Raises:
        InputError: the folder is not a run with a trained student.
    """
    config = thaw(folder)
    weights = folder / "student"
    job = jobs.build(config)
    if not job.method.trains:
        raise InputError(f"{folder}: {job.method.name} trains no student; ask a fine_tune or fine_tune_cot run")
    if not (weights / "config.json").is_file():
        raise InputError(f"{folder}: no trained student in it (until=train or later makes one)")
    from ftcot.student.specs import Decoder, EncoderDecoder
    from ftcot.training.trainer import pick_device

    kind = Decoder if job.student.family == "decoder" else EncoderDecoder
    student = kind(name=job.student.name, checkpoint=str(weights)).load([], job.seed)
    student.model.to(pick_device({})).eval()
    template = job.method.template_for(job.student.family)
    settings = Evaluation(job.evaluation.scorer, max_new_tokens or job.evaluation.limit(), job.evaluation.batch_tokens)
    prompts = [template.ask(question) for question in questions]
    _, said = ask(student, template, prompts, settings)
    extract = SCORERS[settings.scorer].extract
    return [
        Reply(question, reply.text, extract(job.task.answer, reply.text, template.marker), reply.truncated)
        for question, reply in zip(questions, said, strict=True)
    ]


def _questions(options: argparse.Namespace) -> list[str]:
    if options.file is None and options.question and _is_file(options.question):
        options.file, options.question = Path(options.question), None
    if (options.question is None) == (options.file is None):
        raise InputError('give one question in quotes, or --file FILE: python -m ftcot.predict RUN_FOLDER "..."')
    if options.question is not None:
        questions = [options.question]
    elif options.file.suffix in (".jsonl", ".gz"):
        rows = list(read_jsonl(options.file))
        for number, row in rows:
            if not isinstance(row.get("question"), str):
                raise InputError(f"{options.file}, line {number}: no field question")
        questions = [row["question"] for _, row in rows]
    else:
        try:
            questions = [line for line in options.file.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{options.file}: cannot be read ({error})") from None
    if not any(question.strip() for question in questions):
        raise InputError("there is no question to ask")
    return questions


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # longer than any file name
        return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ftcot.predict", description="Ask the student of a run.")
    parser.add_argument("run_folder", type=Path, help="folder of a finished run (holds job.yaml and student/)")
    parser.add_argument("question", nargs="?", help="one question, in quotes, or a file of them")
    parser.add_argument("--file", type=Path, help="questions: one a line, or JSONL with a field question")
    parser.add_argument("--json", action="store_true", help="one JSON object a question")
    parser.add_argument("--max-new-tokens", type=int, help="length of a reply (default: as the run was tested)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
