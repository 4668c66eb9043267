"""Tables of a report: what stands in them, and that no text breaks them."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from ftcot.published import Published
from ftcot.report.model import PaperPoint, Pooled, Verdict
from ftcot.report.samples import Sampled
from ftcot.report.samples import table as samples_table
from ftcot.report.tables import code, csv_of_chart, csv_text, latex, markdown, of_chart, of_runs
from ftcot.sample_study import KINDS
from tests.report_cells import make_cell, make_chart, make_panel

PUBLISHED = Published(0.0778, "best of 20 epochs on test", "tab:performance_gpt2", "cell 36", 180)


def judged() -> list[tuple[str | float, object]]:
    one = make_cell(0.25)
    best = Pooled(0.35, 0.25, 0.45, 20, 1, (0.35,))
    one = replace(one, best=best, verdict=Verdict(PUBLISHED, "above", "because"), is_new=False)
    two = replace(make_cell(0.5, diversity=8), is_new=True)
    return [(1, one), (8, two)]


def test_protocols_stand_in_rows_of_their_own() -> None:
    chart = make_chart(make_panel("multiarith", gpt2=judged()))
    table = of_chart(chart)
    assert table.header == ("task", "series", "accuracy, %", "1", "8")
    assert table.rows == (
        ("MultiArith", "gpt2", "last epoch of 20", "25.0 [15.0, 35.0]", "50.0 [40.0, 60.0] new"),
        ("MultiArith", "gpt2", "best of 1 evaluated epochs of 20 on test", "35.0 [25.0, 45.0]", ""),
        ("MultiArith", "gpt2", "published (best of 20 epochs on test)", "7.8: above", ""),
    )


def test_published_values_stand_there_without_a_run() -> None:
    panel = make_panel("multiarith", gpt2=judged())
    panel = replace(panel, paper=(PaperPoint(64, "curie", PUBLISHED), PaperPoint(8, "gpt2", PUBLISHED)))
    chart = make_chart(panel)
    rows = of_chart(chart).rows
    assert rows[-1] == ("MultiArith", "curie", "published (best of 20 epochs on test)", "", "", "7.8")
    assert rows[2][3:] == ("7.8: above", "7.8", "")
    told = list(csv.DictReader(io.StringIO(csv_of_chart(chart))))
    assert [(row["series"], row["diversity"], row["accuracy"], row["published"]) for row in told] == [
        ("gpt2", "1", "0.25", "0.0778"),
        ("gpt2", "8", "0.5", "0.0778"),
        ("curie", "64", "", "0.0778"),
    ]
    assert (told[0]["verdict"], told[0]["why"], told[1]["new"]) == ("above", "because", "True")


NASTY = "a|b & 50% of $x_1 <script>`#{}~^\\\n* [c](d)"


def test_names_cannot_break_markdown_or_latex() -> None:
    chart = make_chart(make_panel(NASTY, gpt2=judged()), title=NASTY)
    written = markdown(of_chart(chart))
    rows = [line for line in written.splitlines() if line.startswith("|")]
    assert len({line.count("|") - line.count("\\|") for line in rows}) == 1
    assert "<" not in written.replace("\\<", "")
    assert "a\\|b & 50% of $x_1 \\<script>\\`#{}~^\\\\ \\* [c]\\(d)" in written
    told = latex(of_chart(chart))
    assert r"a\textbar{}b \& 50\% of \$x\_1 \textless{}script\textgreater{}`\#\{\}\textasciitilde{}" in told
    body = [line for line in told.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in body} == {4}


@pytest.mark.parametrize(
    ("axis", "xs", "shown"), [("n_train", [420, 8], ["8", "420"]), ("kind", ["b", "a"], ["b", "a"])]
)
def test_numbers_stand_by_size_and_names_as_they_come(axis: str, xs: list[str | float], shown: list[str]) -> None:
    points = [(x, make_cell(0.1 * place, n_train=place)) for place, x in enumerate(xs, start=1)]
    assert list(of_chart(make_chart(make_panel("p", s=points), x=axis)).header[3:]) == shown


def test_all_runs_are_listed_with_their_seeds() -> None:
    cell = make_cell(0.5, seeds=2)
    table = of_runs(cell.runs)
    assert [row[6] for row in table.rows] == ["0", "1"]
    assert table.rows[0][:6] == ("multiarith", "fine_tune_cot", "gpt2", "text-davinci-002", "1", "420")


def test_the_sample_study_shows_the_kinds_that_come_up() -> None:
    points = judged()
    kinds = dict.fromkeys(KINDS, 0.0)
    sampled = {
        points[0][1].key: Sampled(kinds | {"right": 0.25, "truncated": 0.75}, 10, {"effective_degree": 1.0}),  # type: ignore[attr-defined]
        points[1][1].key: Sampled(kinds | {"right": 0.5, "truncated": 0.5}, 80, {"effective_degree": 6.2}),  # type: ignore[attr-defined]
    }
    table = samples_table(make_chart(make_panel("multiarith", gpt2=points)), sampled)  # type: ignore[arg-type]
    assert table.header[3:] == (
        *("accuracy, %", "pairs", "different rationales a question"),
        *("ways to the answer a question", "phrases a question", "right", "truncated"),
    )
    assert table.rows[1] == ("MultiArith", "gpt2", "8", "50.0", "80", "6.2", "", "", "50.0", "50.0")
    assert "Truncated: it was cut off before it came to an answer." in table.caption


def test_a_text_is_no_formula_in_a_spreadsheet() -> None:
    row = {"name": "=HYPERLINK(1)", "why": "+1.7 points", "at": "@x", "minus": "-1", "number": -1.5, "plain": "a=b"}
    [read] = csv.DictReader(io.StringIO(csv_text([row])))
    assert read == {
        "name": "'=HYPERLINK(1)",
        "why": "'+1.7 points",
        "at": "'@x",
        "minus": "'-1",
        "number": "-1.5",
        "plain": "a=b",
    }


def test_a_row_of_latex_is_no_option_of_the_one_before() -> None:
    cells = (make_cell(0.25), make_cell(0.5, diversity=8))
    table = of_chart(make_chart(make_panel("[mine]", **{"*": [(1, cells[0]), (8, cells[1])]})))
    assert "\n{}[mine] & " in latex(table)


def test_code_in_markdown_ends_where_it_should() -> None:
    assert code("python -m x") == "`python -m x`"
    assert code("a `b` ``c") == "``` a `b` ``c ```"
