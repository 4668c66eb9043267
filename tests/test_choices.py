"""Composing many jobs fast gives what Hydra's own composing gives, refusals included."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcot.compose import Composer, conf_dir, freeze
from ftcot.errors import InputError


def outcome(job: Callable[[], object]) -> str:
    """The config, keys in their order, or the line that refuses it."""
    try:
        return json.dumps(job())
    except InputError as error:
        return f"refused: {error}"


def fast_and_slow(composer: Composer, overrides: Sequence[str]) -> tuple[str, str]:
    fast = outcome(lambda: composer.job(overrides))
    return fast, outcome(lambda: freeze(composer.compose(overrides)))


@pytest.mark.parametrize(
    "words",
    [
        "",
        "seed=3 training.epochs=2",
        "diversity=8 task=svamp student=t5-small method=fine_tune",
        "task=generated/coin_flip teacher=replay",  # wins over the teacher that the task brings
        "task=generated/date_understanding training=paper",
        "task=jsonl task.path=conf/config.yaml task.answer=number",  # a path that exists becomes absolute
        "paths.cache=here paths.data=~/data",
        "seed=${training.epochs} +training.warmup=0.1",
        "evaluation.scorer=${oc.env:NOT_SET,strict}",
        "curation.filter=[format,length] curation.min_words=2",
        "training.optimizer={lr:0.1}",
        "~training.optimizer.lr",
        "++training.optimizer.fused=true",
        "+training.optimizer.eps=1e-6",
        "seed=1 seed=2",
        "diversity=1 diversity.degree=5",
        "training@task.extra=fast",
        "+training@_global_.training.extra=lora",
        "~logger",
        "~curation.candidate",
        "task={name:other}",
        "logger=wandb logger.project=${hydra:job.name} hydra.job.name=x",
        "hydra.run.dir=out seed=1",
        "hydra/job_logging=none",
        "trainer=debug logger=none",
        # refused
        "student=gpt2-meduim",
        "task.tain_size=8",
        "+sed=1",
        "+nothing.at.all=1",
        "~no.such.key",
        "~seed=5",
        "nogroup@here=1",
        "+training.epochs=3",
        "++training=fast",
        "seed=${no.such.key}",
        "seed=???",
        "seed=1,2",
        "seed=[1",
        "seed",
        "diversity=3",
        "figure=diversity",
        "+figure=diversity",
        "figure.tasks=svamp",
        "training=3.5",
        "task=[svamp,gsm8k]",
        "seed={a:1}",
        "training.optimizer=3",
        "training=null",
        "teacher=null",
        "hydra=1",
        "hydra/launcher=none",
    ],
)
def test_fast_composing_gives_the_same_config_or_the_same_line(words: str) -> None:
    composer = Composer(conf_dir())
    fast, slow = fast_and_slow(composer, words.split())
    assert fast == slow
    assert outcome(lambda: composer.job(words.split())) == slow  # and again, from what is remembered


OPTIONS = {
    "task": ["multiarith", "svamp", "generated/coin_flip", "generated/multi_step_arithmetic", "jsonl", "nothing"],
    "teacher": ["replay", "procedural"],
    "diversity": ["1", "8", "greedy"],
    "student": ["tiny", "gpt2", "t5-small", "decoder"],
    "method": ["fine_tune", "fine_tune_cot", "zero_shot"],
    "training": ["paper", "fast", "lora"],
    "trainer": ["auto", "debug"],
    "logger": ["none", "csv", "wandb"],
    "+diversity@other": ["2"],
    "training@task.of_its_own": ["fast"],
}
VALUES = {
    "seed": ["0", "7", "${evaluation.batch_tokens}", "-1", "null"],
    "training.epochs": ["1", "40"],
    "+training.optimizer.eps": ["1e-6"],
    "++training.optimizer.lr": ["0.5"],
    "task.train_size": ["8", "null"],
    "task.n_train": ["16"],
    "diversity.degree": ["3"],
    "student.checkpoint": ["conf", "a/b"],
    "student.width": ["64"],
    "teacher.path": ["pyproject.toml"],
    "curation.filter": ["[format,length]", "none"],
    "curation.candidate": ["${task.filter_candidate}", "first"],
    "paths.cache": ["scratch", "/tmp/${seed}"],
    "paths.data": ["${paths.cache}/d"],
    "evaluation": ["{batch_tokens: 4}"],
    "hydra.job.name": ["mine"],
}


def written(options: dict[str, list[str]]) -> st.SearchStrategy[str]:
    return st.sampled_from([f"{key}={value}" for key, values in options.items() for value in values])


DELETIONS = st.sampled_from(["~logger", "~training.optimizer.lr", "~curation.candidate", "~trainer", "~nothing"])
OVERRIDES = st.lists(st.one_of(written(OPTIONS), written(VALUES), DELETIONS), max_size=6)


def test_whatever_is_overridden() -> None:
    composer = Composer(conf_dir())  # one for all, as a sweep has: what one job leaves behind must not show in the next

    @settings(max_examples=60)
    @given(overrides=OVERRIDES)
    def same(overrides: list[str]) -> None:
        fast, slow = fast_and_slow(composer, overrides)
        assert fast == slow

    same()


def test_a_job_changes_nothing_of_the_next() -> None:
    composer = Composer(conf_dir())
    before = json.dumps(composer.job(["diversity=8"]))
    changed = composer.job(["diversity=8", "+training.optimizer.eps=1", "paths.cache=x", "~logger", "seed=9"])
    changed["task"]["name"] = "another"
    assert json.dumps(composer.job(["diversity=8"])) == before


def test_options_of_ones_own_that_set_keys_elsewhere(tmp_path: Path) -> None:
    # `_global_` packages, own defaults, an override of another group, a value asked of Hydra's node.
    for name, text in {
        "task/mine": "defaults:\n- svamp\n- override /student@_global_.student: gpt2\n- _self_\ntrain_size: 8\n",
        "training/mine": "# @package _global_\nseed: 5\ntraining: {epochs: 1}\n",
        "student/named": "defaults: [tiny, _self_]\nname: ${hydra:job.name}\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    composer = Composer(conf_dir(), extra=tmp_path)
    for overrides in (["task=mine"], ["task=mine", "student=tiny"], ["training=mine", "seed=6"], ["student=named"]):
        fast, slow = fast_and_slow(composer, overrides)
        assert fast == slow
        assert not fast.startswith("refused")
