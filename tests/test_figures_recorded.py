"""What the figures of the paper ask of the recorded teachers is on record: every job passes its checks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.test_figures import PAPERS, composer, planned

pytestmark = [pytest.mark.data, pytest.mark.slow]


@pytest.mark.parametrize("name", PAPERS)
def test_every_job_of_a_figure_passes_its_checks_with_what_is_recorded(
    name: str, data_dir: Path, tmp_path: Path
) -> None:
    # Offline, and its students are not at hand: training pairs can be made all the same. One student of each figure:
    # what may be missing is the teacher's.
    tree = composer()
    student = {"hyperparameters": "t5-small", "data_size": "gpt2-large", "few_shot_diversity": "gpt2-large"}
    own = [f"figure={name}", f"figure.students={student.get(name, 'gpt2')}", "until=curate", f"paths.data={data_dir}"]
    jobs = planned(tree, tmp_path, *own)
    assert len(jobs) >= PAPERS[name][0] / 9
    if name == "diversity":
        asked = Counter((job.checked.job.task.name, job.checked.job.diversity.degree) for job in jobs)
        highest = {task: max(degree for other, degree in asked if other == task) for task, _ in asked}
        assert Counter(highest.values()) == {64: 2, 8: 7}
    if name == "main":
        by_task = Counter(job.checked.job.task.name for job in jobs)
        assert by_task == {**dict.fromkeys(by_task, 5), "gsm8k": 4, "aqua": 4, "commonsense_qa": 4}
        assert len(by_task) == 12
