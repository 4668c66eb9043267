"""The doctor says what is there, what is not, and no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftcot import doctor


def test_a_machine_without_data_is_ready_for_the_generated_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-marker-0123456789")
    assert doctor.main([f"paths.cache={tmp_path}", f"paths.data={tmp_path / 'data'}"]) == 0
    said = capsys.readouterr().out
    assert "0 of 12 real tasks" in said
    assert "not at hand: addsub, aqua" in said
    assert "OPENAI_API_KEY set, HF_TOKEN" in said
    assert "tiny, tiny-0.2m" in said
    assert "marker" not in said
    assert said.splitlines()[-1].startswith("Ready")
    assert not any(tmp_path.iterdir())  # it looks and changes nothing


@pytest.mark.data
def test_real_data_is_found(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main([f"paths.cache={tmp_path}", f"paths.data={data_dir}"]) == 0
    assert "12 of 12 real tasks" in capsys.readouterr().out


def test_a_folder_that_takes_nothing_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["paths.cache=/proc/ftcot"]) == 1
    assert "paths.cache=/proc/ftcot: /proc cannot be written to" in capsys.readouterr().out


def test_a_wrong_override_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["paths.dta=x"]) == 2
    assert "did you mean paths.data?" in capsys.readouterr().err
