"""A study: the trials of a search, as Optuna wants them and as a file that another command goes on from.

CACHE/studies/optuna-5f0c12ab34.json
{"schema": 1, "direction": "maximize", "trials": [
  {"state": "COMPLETE", "value": 0.53, "params": {"training.optimizer.lr": 0.0031}, "distributions": {...}, ...},
  {"state": "RUNNING", "value": null, "params": {"training.optimizer.lr": 0.0007}, "distributions": {...}, ...}]}

Optuna 2.10, the last that Hydra's plugin takes, cannot open its own databases with SQLAlchemy 2. So it keeps the trials
in memory, and they are read from and written to text here. A trial that did not end, or failed, is asked again.
"""

from __future__ import annotations

import fcntl
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ftcot.errors import InputError
from ftcot.files import read_json, write_json
from ftcot.records import SCHEMA

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # SQLAlchemy 2 has complaints
    import optuna
    from optuna.trial import FrozenTrial, TrialState


class Study:
    """The trials of one search."""

    def __init__(self, path: Path, direction: str) -> None:
        """The study kept in a file, or a new one.

        Args:
            direction: `maximize` or `minimize`.
        Raises:
            InputError: the file is damaged, or of a study with another direction.
        """
        optuna.logging.set_verbosity(logging.WARNING)
        self.path = path
        self.name = path.stem
        self.direction = direction
        self.storage = optuna.storages.InMemoryStorage()
        self._study = optuna.create_study(storage=self.storage, study_name=self.name, directions=[direction])
        for trial in self._read():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # these two are called experimental
                if trial.state == TrialState.COMPLETE:
                    self._study.add_trial(trial)
                elif trial.params:
                    self._study.enqueue_trial(trial.params)

    @property
    def complete(self) -> list[FrozenTrial]:
        """The trials that have a result."""
        return self._study.get_trials(states=(TrialState.COMPLETE,))

    @property
    def best(self) -> FrozenTrial | None:
        return self._study.best_trial if self.complete else None

    def save(self) -> None:
        """Write all trials, durably."""
        rows = [_row(trial) for trial in self._study.trials if trial.params]
        write_json(self.path, {"schema": SCHEMA, "direction": self.direction, "trials": rows})

    def _read(self) -> list[FrozenTrial]:
        if not self.path.exists():
            return []
        try:
            values = read_json(self.path)
            direction, trials = values["direction"], [_trial(row) for row in values["trials"]]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.path}: not a study ({error}); remove it to begin anew") from None
        if direction != self.direction:
            raise InputError(
                f"hydra.sweeper.direction={self.direction}, but the study in {self.path} is to {direction}: "
                "name another one with hydra.sweeper.study_name"
            )
        return trials

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one that adds trials. Where none is added, nothing is left.

        Raises:
            InputError: somebody else does.
        """
        made = [path for path in self.path.parents if not path.exists()]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = self.path.with_suffix(".lock")
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"study {self.name}: the same search is running now; wait for it, or stop it"
                ) from None
            try:
                yield
            finally:
                if not self.path.exists():
                    lock.unlink()
                    with suppress(OSError):  # something else has come into one
                        for path in made:
                            path.rmdir()


def _row(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "state": trial.state.name,
        "value": trial.value if trial.state == TrialState.COMPLETE else None,
        "params": trial.params,
        "distributions": {
            name: json.loads(optuna.distributions.distribution_to_json(distribution))
            for name, distribution in trial.distributions.items()
        },
        "attributes": trial.user_attrs,
        "system": {key: value for key, value in trial.system_attrs.items() if key != "fixed_params"},
    }


def _trial(row: dict[str, Any]) -> FrozenTrial:
    complete = row["state"] == "COMPLETE"
    distributions = {
        name: optuna.distributions.json_to_distribution(json.dumps(distribution))
        for name, distribution in row["distributions"].items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is called experimental
        trial: FrozenTrial = optuna.trial.create_trial(
            state=TrialState.COMPLETE if complete else TrialState.FAIL,
            value=row["value"] if complete else None,
            params=row["params"],
            distributions=distributions,
            user_attrs=row["attributes"],
            system_attrs=row["system"],
        )
    return trial
