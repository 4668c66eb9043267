"""How cells become lines, and runs of no figure a chart."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcot.figures import Figure
from ftcot.report.charts import _best_x, _inferred, _panel
from ftcot.report.grouping import also_differ, lines, values
from ftcot.report.model import Cell
from tests.report_cells import make_cell


def told(cells: list[Cell], x: str, series: str | None) -> dict[str, list[object]]:
    return {name: [cell.facts.axis(x) for cell in line] for name, line in lines(cells, x, series)}


def test_an_axis_tells_lines_apart() -> None:
    cells = [make_cell(student=student, diversity=d) for student in ("gpt2", "gpt2-medium") for d in (8, 1)]
    assert told(cells, "diversity", "student") == {"gpt2": [1, 8], "gpt2-medium": [1, 8]}
    assert told(cells[:2], "diversity", None) == {"": [1, 8]}


def test_lines_are_parted_by_what_differs_where_two_cells_share_a_place() -> None:
    cells = [make_cell(n_train=n, diversity=d) for n in (420, 128) for d in (1, 8)]
    cells += [make_cell(n_train=128, diversity=64)]
    assert told(cells, "diversity", "student") == {
        "gpt2, 420 training questions": [1, 8],
        "gpt2, 128 training questions": [1, 8, 64],
    }


def test_a_greedy_rationale_and_a_drawn_one_are_one_line_unless_both_are_there() -> None:
    greedy, drawn, eight = make_cell(temperature=0.0), make_cell(), make_cell(diversity=8)
    assert told([greedy, eight], "diversity", "student") == {"gpt2": [1, 8]}
    assert told([greedy, drawn, eight], "diversity", "student") == {"gpt2, T = 0": [1], "gpt2, T = 0.7": [1, 8]}


def test_keys_of_the_config_part_lines_that_no_fact_parts() -> None:
    cells = [make_cell(config={"training": {"warmup": warmup}}, diversity=d) for warmup in (0, 0.1) for d in (1, 8)]
    assert told(cells, "diversity", "student") == {
        "gpt2, training.warmup=0": [1, 8],
        "gpt2, training.warmup=0.1": [1, 8],
    }


def test_what_has_no_x_is_a_line_of_its_own() -> None:
    cells = [make_cell(diversity=1), make_cell(diversity=8), make_cell(method="fine_tune")]
    assert told(cells, "diversity", "method") == {"fine_tune_cot": [1, 8], "fine_tune": [None]}
    assert told(cells, "diversity", None) == {"": [1, 8], "Fine-tune": [None]}
    more = [*cells, make_cell(method="zero_shot")]
    assert list(told(more, "diversity", "student")) == ["gpt2", "gpt2, Zero-shot", "gpt2, Fine-tune"]
    panel = _panel(Figure("f", "F", x="diversity", series="method"), "multiarith", cells)
    assert [(point.x, point.cell.facts.method) for point in panel.series[1].points] == [
        (1, "fine_tune"),
        (8, "fine_tune"),
    ]


def test_values_stand_in_the_order_that_a_reader_expects() -> None:
    methods = ["fine_tune_cot", "zero_shot", "fine_tune", "few_shot_cot"]
    cells = [make_cell(method=method) for method in methods]
    assert values(cells, "method") == ["zero_shot", "few_shot_cot", "fine_tune", "fine_tune_cot"]
    cells = [make_cell(student=name, n_parameters=n) for name, n in (("b", 3), ("a", 9), ("c", 1))]
    assert values(cells, "student") == ["c", "b", "a"]
    cells = [make_cell(task=task) for task in ("svamp", "generated_coin_flip", "multiarith", "addsub")]
    assert values(cells, "task") == ["addsub", "multiarith", "svamp", "generated_coin_flip"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("fine_tune", "fine_tune_cot")),
            st.sampled_from(("gpt2", "t5-small")),
            st.sampled_from((1, 2, 8)),
            st.sampled_from((0.0, 0.7)),
            st.sampled_from((8, 420)),
            st.sampled_from((1e-4, 3e-4)),
        ),
        min_size=1,
        max_size=12,
        unique=True,
    ),
    st.sampled_from(("diversity", "n_train", "learning_rate", "student", "kind")),
    st.sampled_from((None, "student", "method", "n_train")),
)
def test_no_two_cells_of_a_line_share_a_place_and_none_is_lost(
    made: list[tuple[str, str, int, float, int, float]], x: str, series: str | None
) -> None:
    names = ("method", "student", "diversity", "temperature", "n_train", "learning_rate")
    cells = {
        cell.key: cell for one in made for cell in [make_cell(**dict(zip(names, one, strict=True)))]
    }  # those of vanilla fine-tuning may be the same
    found = lines(list(cells.values()), x, series)
    assert sorted(cell.key for _, line in found for cell in line) == sorted(cells)
    assert len({name for name, _ in found}) == len(found)
    for _, line in found:
        places = [cell.facts.axis(x) for cell in line]
        assert len(set(places)) == len(places)


def test_the_order_of_runs_changes_no_name() -> None:
    cells = [
        make_cell(n_train=n, diversity=d, student=s) for n in (8, 420) for d in (1, 8) for s in ("gpt2", "t5-small")
    ]
    shuffled = random.Random(0).sample(cells, len(cells))
    assert set(told(cells, "diversity", "student")) == set(told(shuffled, "diversity", "student"))


GRID = {
    "D": ([{"diversity": d} for d in (1, 2, 4, 8)], "diversity", None),
    "D and methods": ([{"diversity": 1}, {"diversity": 8}, {"method": "fine_tune"}], "diversity", "method"),
    "D and students": (
        [{"diversity": d, "student": s, "n_parameters": n} for d in (1, 8) for s, n in (("a", 1), ("b", 2))],
        "diversity",
        "student",
    ),
    "questions": ([{"n_train": n} for n in (8, 32, 128)], "n_train", None),
    "three sizes beat two D": (
        [{"n_train": n, "diversity": d} for n in (8, 32, 128) for d in (1, 8)],
        "n_train",
        "diversity",
    ),
    "sizes": ([{"student": s, "n_parameters": n} for s, n in (("a", 1), ("b", 2), ("c", 3))], "n_parameters", None),
    "skill": ([{"skill": skill} for skill in (0.8, 0.9, 1.0)], "skill", None),
    "teachers": ([{"teacher": name} for name in ("davinci", "text-davinci-001")], "teacher", None),
    "filters": ([{"filter": name} for name in ("answer", "none")], "filter", None),
    "rates": ([{"learning_rate": rate} for rate in (1e-4, 3e-4, 1e-3)], "learning_rate", None),
    "methods": ([{"method": method} for method in ("zero_shot", "fine_tune", "fine_tune_cot")], "kind", None),
    "one": ([{}], "kind", None),
}


@pytest.mark.parametrize("name", GRID)
def test_runs_of_no_figure_are_drawn_over_what_varies_most_usefully(name: str) -> None:
    made, x, series = GRID[name]
    cells = [make_cell(**facts) for facts in made]
    [(figure, group)] = _inferred(cells)
    assert (figure.x, figure.series) == (x, series)
    assert group == cells


def test_tasks_that_vary_alike_are_panels_and_others_charts_of_their_own() -> None:
    cells = [make_cell(task=task, diversity=d) for task in ("multiarith", "svamp") for d in (1, 8)]
    other = [make_cell(task="coin_flip", n_train=n) for n in (8, 32)]
    assert [(figure.x, len(group)) for figure, group in _inferred([*cells, *other])] == [
        ("diversity", 4),
        ("n_train", 2),
    ]
    assert _best_x(other) == "n_train"


def test_what_else_differs_along_a_line_is_said() -> None:
    cells = [make_cell(epochs=4, temperature=0.0), make_cell(epochs=20, diversity=8)]
    assert also_differ(cells, "diversity") == "temperature (0, 0.7), epochs (4, 20)"
    assert also_differ(cells[:1], "diversity") == ""
    methods = [make_cell(method="fine_tune"), make_cell(diversity=8)]
    assert also_differ(methods, "kind") == ""  # the methods say it
