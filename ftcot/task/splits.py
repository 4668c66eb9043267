"""Rules that split a task into train, validation and test, and take subsets of its training questions.

    by_rule(600, 420)                    MultiArith: 420 / 180, the published default split
    by_template(templates)               413 / 187: no template is in both
    clean_groups(questions, 420)         no test question overlaps a training question
    splits(samples, division, 128, 0)    its 128-question subset; 8 of the 128 are the 8-question subset

A division is two or three lists of sample indices; `splits` makes samples of them. Every draw is
`RandomState(0).permutation`, the authors' one source of chance.

Source: METHOD section 2; the rules regenerate the 14 published split files and 36 published subsets exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ftcot.errors import InputError
from ftcot.records import Sample, Split
from ftcot.task import Splits
from ftcot.task.audit import groups, overlapping

TRAIN_SHARE = 0.7
"""Of the questions, or of the templates, where a task has no official split."""


@dataclass(frozen=True)
class Division:
    """Sample indices, each list ascending, none in two of them."""

    train: Sequence[int]
    test: Sequence[int]
    validation: Sequence[int] = ()
    """Only where the data comes with its own validation split."""


def permuted(indices: Sequence[int]) -> list[int]:
    """`indices` in the authors' order."""
    from numpy.random import RandomState

    shuffled: list[int] = RandomState(0).permutation(indices).tolist()
    return shuffled


def share_of(n: int) -> int:
    """How many of n things are trained on."""
    return round(TRAIN_SHARE * n)


def by_rule(n: int, n_train: int) -> Division:
    """n questions without an official split: the first n_train of the permutation are trained on."""
    order = permuted(range(n))
    return Division(sorted(order[:n_train]), sorted(order[n_train:]))


def official(n_train: int, n_test: int, n_drawn: int) -> Division:
    """An official split, test after train; of the training questions n_drawn are drawn."""
    return Division(sorted(permuted(range(n_train))[:n_drawn]), range(n_train, n_train + n_test))


def by_template(templates: Mapping[int, str]) -> Division:
    """Whole templates go to train or test. `templates` maps index to template, and its order counts."""
    members: dict[str, list[int]] = {}
    for index, template in templates.items():
        members.setdefault(template, []).append(index)
    order = [list(members)[place] for place in permuted(range(len(members)))]
    n_train = share_of(len(order))
    return Division(
        sorted(index for template in order[:n_train] for index in members[template]),
        sorted(index for template in order[n_train:] for index in members[template]),
    )


def clean_groups(questions: Mapping[int, str], n_train: int) -> Division:
    """A new split into about n_train training questions and the rest, with no overlap of test with train.

    Questions that overlap directly or through others stay together; a group is trained on while there is room.
    """
    connected = groups(questions)
    train: list[int] = []
    test: list[int] = []
    for place in permuted(range(len(connected))):
        group = connected[place]
        (train if len(train) + len(group) <= n_train else test).extend(group)
    return Division(sorted(train), sorted(test))


def clean_train(questions: Mapping[int, str], division: Division) -> Division:
    """An official split keeps its test questions; training and validation questions that overlap them are dropped."""

    def kept(indices: Iterable[int], against: Iterable[int]) -> list[int]:
        indices = list(indices)
        dropped = overlapping({i: questions[i] for i in indices}, {i: questions[i] for i in against})
        return [index for index in indices if index not in dropped]

    validation = kept(division.validation, division.test)
    return Division(kept(division.train, [*division.test, *validation]), division.test, validation)


def check_sizes(train_size: int | None, validation_size: int) -> None:
    """Refuse sizes that no task could have.

    Raises:
        InputError: train_size is not a positive whole number or null; validation_size not zero or a positive one.
    """
    if train_size is not None and (type(train_size) is not int or train_size < 1):
        raise InputError(
            f"task.train_size={train_size}: give a whole number from 1, or null for every training question"
        )
    if type(validation_size) is not int or validation_size < 0:
        raise InputError(
            f"task.validation_size={validation_size}: give a whole number, or 0 for no validation questions"
        )


def splits(samples: Mapping[int, Sample], division: Division, train_size: int | None, validation_size: int) -> Splits:
    """The samples of a division, after train_size and validation_size.

    Both take from one permutation of the training indices: a subset is its first train_size (the authors' rule, so
    that smaller subsets lie within larger ones), validation its last validation_size.

    Raises:
        InputError: there are too few training questions for both.
    """
    name = next(iter(samples.values())).task
    n = len(division.train)
    if validation_size and division.validation:
        raise InputError(
            f"task.validation_size={validation_size}: {name} has its own {len(division.validation)} validation "
            f"questions; leave it at 0 to use them"
        )
    if train_size is not None and train_size > n:
        raise InputError(f"task.train_size={train_size}: {name} has {n} training questions; give at most {n}, or null")
    if (train_size or 1) + validation_size > n:
        raise InputError(
            f"task.validation_size={validation_size}: {name} has {n} training questions, and "
            f"{train_size or 'at least 1'} of them {'are' if train_size else 'has'} to be trained on"
        )
    order = permuted(division.train) if train_size or validation_size else list(division.train)
    end = n - validation_size

    def named(indices: Iterable[int], split: Split) -> tuple[Sample, ...]:
        return tuple(replace(samples[index], split=split) for index in sorted(indices))

    return Splits(
        train=named(order[: end if train_size is None else train_size], "train"),
        validation=named(division.validation or order[end:], "validation"),
        test=named(division.test, "test"),
    )
