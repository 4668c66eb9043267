"""Palette, pictures and interactive charts: told apart without colour, complete, and the same from the same chart."""

from __future__ import annotations

import itertools
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftcot.figures import Figure
from ftcot.published import Published
from ftcot.report import labels, looks, palette, plots, vega
from ftcot.report.model import Cell, Chart, Panel, PaperPoint, Point, Pooled, Series
from ftcot.report.palette import DARK, LIGHT, Theme
from ftcot.report.studies import Rates
from ftcot.sample_study import KINDS

# What is left of linear red, green and blue for an eye without one kind of cones (Machado et al. 2009, severity 1).
EYES = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}

STUDENTS = ("gpt2", "gpt2-medium")
LONG = "HuggingFaceTB/SmolLM2-135M-Instruct-trained-somewhere-else-for-a-long-time"


def oklab(colour: str, eye: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """A colour as such an eye sees it, in OKLab (Ottosson 2020)."""
    light = palette.linear(colour)
    r, g, b = (min(1.0, max(0.0, sum(a * c for a, c in zip(row, light, strict=True)))) for row in eye)
    l_ = math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b)
    m_ = math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b)
    s_ = math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b)
    return (
        0.2104542553 * l_ + 0.7936177850 * m_ - 0.0040720468 * s_,
        1.9779984951 * l_ - 2.4285922050 * m_ + 0.4505937099 * s_,
        0.0259040371 * l_ + 0.7827717662 * m_ - 0.8086757660 * s_,
    )


def cell(accuracy: float, seeds: int = 3, best: float | None = None) -> Cell:
    by_seed = tuple(accuracy + 0.01 * (place - (seeds - 1) / 2) for place in range(seeds))
    last = Pooled(accuracy, max(0.0, accuracy - 0.05), min(1.0, accuracy + 0.05), 180, seeds, by_seed)
    return Cell(f"{accuracy}", (), last, None if best is None else replace(last, accuracy=best), None, False)


def chart(
    kind: Any = "curve",
    tasks: Sequence[str] = ("multiarith", "svamp"),
    names: Sequence[str] = STUDENTS,
    xs: Sequence[str | float] = (1.0, 2.0, 4.0, 8.0),
    *,
    x: str = "diversity",
    paper: Sequence[str] = (),
    seeds: int = 3,
    best: float | None = None,
    random: float | None = None,
    teacher: float | None = None,
) -> Chart:
    panels = []
    for task in tasks:
        series = [
            Series(name, tuple(Point(at, cell(0.1 + 0.05 * i + 0.04 * j, seeds, best)) for j, at in enumerate(xs)))
            for i, name in enumerate(names)
        ]
        published = Published(0.0778, "best of 20 epochs on test", "fig:diverse_reasoning_gpt2")
        points = [PaperPoint(at, name, published) for name in paper for at in xs]
        panels.append(Panel(task, tuple(series), tuple(points), random, teacher))
    figure = Figure("diversity", "Diverse reasoning", kind=kind, x=x, series="student")
    return Chart(figure, tuple(panels), (), "Accuracy by D.")


def texts(path: Path) -> str:
    """What a PDF or SVG says of itself, and its words where they are text."""
    return path.read_text(encoding="utf-8") if path.suffix == ".svg" else path.read_bytes().decode("latin-1")


@pytest.mark.parametrize("eye", EYES, ids=str)
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_series_are_told_apart_by_every_eye(theme: Theme, eye: str) -> None:
    seen = [oklab(colour, EYES[eye]) for colour in theme.series]
    assert min(100 * math.dist(a, b) for a, b in itertools.combinations(seen, 2)) >= 10


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_marks_have_the_contrast_that_wcag_wants(theme: Theme) -> None:
    grounds = (theme.background, theme.surface)
    for ground in grounds:
        for colour in (theme.text, theme.muted, theme.link, theme.good, theme.bad, theme.unsure):
            assert palette.contrast(colour, ground) >= 4.5, (colour, ground)
        for colour in (*theme.series, theme.border):
            assert palette.contrast(colour, ground) >= 3, (colour, ground)
    for name in ("good", "bad", "unsure"):
        assert palette.contrast(getattr(theme, name), getattr(theme, f"{name}_back")) >= 4.5
        assert palette.contrast(theme.text, getattr(theme, f"{name}_back")) >= 4.5
    assert palette.contrast(theme.on_link, theme.link) >= 4.5


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_number_on_a_heat_map_can_be_read(theme: Theme) -> None:
    low, high = palette.ink(theme.heat[0]), palette.ink(theme.heat[-1])
    for place in range(1001):
        colour = palette.heat(theme, place / 1000)
        assert palette.contrast(palette.ink(colour), colour) >= 4.5
        assert palette.contrast(low if place / 1000 <= palette.HEAT_TURN else high, colour) >= 4.4, (place, colour)


def test_colour_is_never_the_only_sign() -> None:
    styles = [palette.style(index) for index in range(60)]
    assert len(set(styles)) == 60
    for one, other in itertools.combinations(styles[:12], 2):
        if one.colour == other.colour:
            assert one.marker != other.marker
    for one, other in itertools.pairwise(styles):
        assert one.colour != other.colour
        assert one.marker != other.marker
        assert one.dash != other.dash


def test_the_pages_variables_hold_every_colour_of_both_themes() -> None:
    text = palette.css()
    for theme in (LIGHT, DARK):
        for colour in (theme.background, theme.on_link, *theme.series, *theme.heat):
            assert colour in text
    assert text.count("--good-back:") == 3
    assert text.index("prefers-color-scheme: dark") > text.index(":root {")


def test_a_picture_is_the_same_bytes_again(tmp_path: Path) -> None:
    asked = chart(paper=STUDENTS, random=0.05)
    first = plots.draw(asked, tmp_path / "a", plots.FORMATS)
    again = plots.draw(asked, tmp_path / "b", plots.FORMATS)
    assert [path.name for path in first] == ["a.svg", "a.pdf", "a.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_a_picture_says_nothing_of_when_it_was_made_and_does_not_take_after_a_users_settings(tmp_path: Path) -> None:
    import matplotlib

    (before,) = plots.draw(chart(), tmp_path / "a", ["svg"])
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        (after,) = plots.draw(chart(), tmp_path / "b", ["svg"])
    assert before.read_bytes() == after.read_bytes()
    (pdf,) = plots.draw(chart(), tmp_path / "c", ["pdf"])
    assert not re.search(r"dc:date|\d{4}-\d\d-\d\dT", texts(before))
    assert "CreationDate" not in texts(pdf)


def test_an_svg_says_in_words_what_it_shows(tmp_path: Path) -> None:
    asked = chart(tasks=("multiarith",), names=("a <b> & 'c'",))
    asked = replace(asked, figure=replace(asked.figure, title="A & B"))
    (path,) = plots.draw(asked, tmp_path / "x", ["svg"])
    root = ElementTree.parse(path).getroot()
    assert root.attrib["role"] == "img"
    assert root[0].text == "A & B"
    assert "MultiArith, a <b> & 'c'; rationales a question (D) 1: 10.0 % [5.0, 15.0]" in (root[1].text or "")


def test_letters_of_a_pdf_are_text_of_an_embedded_font(tmp_path: Path) -> None:
    (path,) = plots.draw(chart(), tmp_path / "x", ["pdf"])
    assert "/FontFile2" in texts(path)
    assert "/Type3" not in texts(path)


ODD = {
    "one panel, one point": chart(tasks=("coin_flip",), names=("tiny",), xs=(1.0,)),
    "one seed": chart(seeds=1),
    "nine series": chart(tasks=("svamp",), names=[f"student {place}" for place in range(9)]),
    "long names": chart(names=(LONG, f"{LONG}-2"), xs=(1.0, 8.0)),
    "mathematics in a name": chart(names=("$x^{", "a_b$"), xs=(1.0, 8.0)),
    "the paper alone": chart(names=(), paper=("curie",)),
    "words along x": chart(
        xs=("davinci", "text-davinci-001", "text-davinci-002"), x="teacher", paper=("gpt2", "curie")
    ),
    "a number of 0 along x": chart(xs=(0.0, 1.0, 2.0)),
    "bars": chart("bars", xs=("zero_shot", "fine_tune", "fine_tune_cot_diverse"), x="kind", paper=("gpt2", "curie")),
    "heat map": chart("heatmap", names=("1", "8"), xs=(1e-5, 3e-4), x="learning_rate"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_chart_can_be_odd(name: str, tmp_path: Path) -> None:
    assert plots.draw(ODD[name], tmp_path / "x", ["png"])[0].stat().st_size > 3000
    made = vega.spec(ODD[name])
    assert made["description"].startswith("Accuracy by D.")
    json.dumps(made, allow_nan=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_vega_draws_it(name: str) -> None:
    import vl_convert

    made = vega.spec(ODD[name])
    width = {"width": 400} if made.get("width") == "container" else {}
    svg = vl_convert.vegalite_to_svg({**made, **width, "config": palette.vega_config(DARK)})
    assert 'aria-roledescription="' in svg
    if ODD[name].figure.kind != "heatmap" and len(looks.look(ODD[name]).names) > 1:
        assert "legend" in svg


def test_nothing_sticks_out_of_a_picture() -> None:
    """Legend, titles and labels lie within the page."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for name, asked in ODD.items():
        with style.context(["default", plots.RC]):
            picture = plots._picture(asked)
            FigureCanvasAgg(picture).draw()
            page = picture.bbox
            words = [text for axes in picture.axes for text in (axes.title, axes.xaxis.label, axes.yaxis.label)]
            words += [label for axes in picture.axes for label in axes.get_xticklabels()]
            for axes in picture.axes:  # ticks beyond the ends of an axis are not drawn
                low, high = sorted(axes.get_ylim())
                words += [label for label in axes.get_yticklabels() if low <= label.get_position()[1] <= high]
            for shape in (*words, *picture.legends):
                if shape.get_visible() and (not hasattr(shape, "get_text") or shape.get_text()):
                    box = shape.get_window_extent()
                    assert page.x0 - 2 <= box.x0 <= box.x1 <= page.x1 + 2, (name, shape)
                    assert page.y0 - 2 <= box.y0 <= box.y1 <= page.y1 + 2, (name, shape)


def test_a_table_and_a_chart_without_points_are_not_drawn(tmp_path: Path) -> None:
    for asked in (chart("table"), chart(tasks=())):
        assert plots.draw(asked, tmp_path / "x") == []
        assert vega.spec(asked) == {}
    assert list(tmp_path.iterdir()) == []


def test_doublings_stand_equally_far_apart() -> None:
    seen = looks.look(chart(xs=(1.0, 2.0, 8.0, 64.0)))
    assert [seen.place(x) for x in seen.xs] == [0.0, 1.0, 3.0, 6.0]
    assert [seen.tick(x) for x in seen.ticks] == ["1", "2", "8", "64"]
    linear = looks.look(chart(xs=(0.5, 0.95), x="skill"))
    assert linear.place(0.95) == 0.95


def test_intervals_of_two_series_do_not_hide_each_other() -> None:
    seen = looks.look(chart(names=[f"s{place}" for place in range(9)]))
    shifts = [seen.shift(name) for name in seen.names]
    assert shifts == sorted(set(shifts))
    assert max(shifts) < 0.25
    assert sum(shifts) == pytest.approx(0)


def test_the_papers_order_of_names_holds_where_it_has_them_all() -> None:
    teachers = ("davinci", "text-davinci-001", "text-davinci-002")
    asked = chart(xs=teachers, x="teacher", paper=("gpt2",))
    only = Series("gpt2", (Point("text-davinci-002", cell(0.3)),))
    asked = replace(asked, panels=tuple(replace(panel, series=(only,)) for panel in asked.panels))
    assert looks.look(asked).xs == teachers


def test_a_series_that_the_paper_alone_has_is_named_as_such() -> None:
    seen = looks.look(chart(paper=("gpt2", "curie")))
    assert seen.names == ("gpt2", "gpt2-medium", "curie")
    assert seen.n_run == 2
    said = [words for _, words in plots._entries(chart(paper=("gpt2", "curie")), seen)]
    assert "curie (published only)" in said
    assert "published, best of 20 epochs on test" in said


def test_a_teacher_far_above_its_students_does_not_press_them_flat() -> None:
    far, near = chart(teacher=0.99).panels[0], chart(teacher=0.3).panels[0]
    assert not looks.draws_teacher(far)
    assert looks.heights(far, "curve")[1] < 50
    assert looks.draws_teacher(near)
    assert looks.heights(near, "curve")[1] > 30
    assert "↑ the teacher, 99.0 %" in json.dumps(vega.spec(chart(teacher=0.99)), ensure_ascii=False)


def test_bars_stand_on_zero_and_high_curves_need_not() -> None:
    high = Panel("coin_flip", (Series("s", (Point(1.0, cell(0.9)), Point(2.0, cell(0.95)))),))
    assert looks.heights(high, "bars")[0] == 0
    assert looks.heights(high, "curve")[0] > 70


def test_the_best_epoch_on_test_is_shown_where_it_is_another_one() -> None:
    point = Point(1.0, cell(0.5, best=0.6))
    assert looks.picked(point) == 0.6
    assert looks.picked(Point(1.0, cell(0.5, best=0.5))) is None
    assert looks.picked(Point(1.0, cell(0.5))) is None
    assert "Crosses: the best epoch on test." in looks.signs(chart(best=0.7))
    assert "Crosses" not in looks.signs(chart())


def walk(value: Any) -> Any:
    """Every mapping in a spec."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def test_a_spec_names_no_colour_and_no_place_on_the_network() -> None:
    for asked in ODD.values():
        made = vega.spec(asked)
        assert "config" not in made
        text = json.dumps({key: value for key, value in made.items() if key != "$schema"})
        assert not re.search(r"#[0-9a-fA-F]{6}|https?://", text)


def test_a_spec_holds_every_value_with_its_words() -> None:
    made = vega.spec(chart(tasks=("multiarith",), paper=("gpt2",)))
    rows = [row for part in walk(made) for row in part.get("values", []) if isinstance(row, dict)]
    words = {row["words"] for row in rows if "words" in row}
    assert "MultiArith, gpt2, 8: 22.0 % [17.0, 27.0]" in words
    assert "published, gpt2, 8: 7.78 %, best of 20 epochs on test" in words
    tooltips = [item["title"] for part in walk(made) for item in part.get("tooltip", []) if isinstance(item, dict)]
    assert {"accuracy", "seeds", "test questions", "published", "beside it"} <= set(tooltips)
    assert {param["name"] for param in made["params"]} >= {vega.FOCUS}


def test_one_panel_is_as_wide_as_its_container_and_several_have_one_legend() -> None:
    assert vega.spec(chart(tasks=("svamp",)))["width"] == "container"
    made = vega.spec(chart(tasks=("multiarith", "svamp", "gsm8k")))
    assert len(made["concat"]) == 3
    assert made["columns"] == 3
    assert sum(param["name"] == vega.CHOSEN for part in walk(made) for param in part.get("params", [])) == 1


def test_the_axis_of_a_spec_says_the_values_and_not_their_logarithms() -> None:
    made = vega.spec(chart(tasks=("svamp",)))
    axes = [part["axis"] for part in walk(made) if "labelExpr" in (part.get("axis") or {})]
    assert axes[0]["values"] == [0.0, 1.0, 2.0, 3.0]
    assert axes[0]["labelExpr"].startswith('["1", "2", "4", "8"][indexof(')


def test_the_sample_study_is_a_picture_too(tmp_path: Path) -> None:
    rows = [Rates(f"D = {d}", d, 900, dict.fromkeys(KINDS, 0.1) | {"right": 0.2}) for d in (1, 8)]
    (path,) = plots.draw_study(rows, tmp_path / "study", ["svg"])
    assert "D = 8: right 20.0 %" in texts(path)
    assert plots.draw_study([], tmp_path / "none") == []


@pytest.mark.parametrize(
    ("n", "words"),
    [(722_048, "722K"), (5_300_000, "5.3M"), (135e6, "135M"), (1.5e9, "1.5B"), (999_800, "1M"), (12, "12")],
)
def test_a_number_of_parameters_is_short(n: float, words: str) -> None:
    assert labels.amount(n) == words


def test_names_are_shortened_in_the_middle_and_numbers_stay() -> None:
    assert labels.shorten("abcdefghij", 10) == "abcdefghij"
    assert labels.shorten("abcdefghijk", 7) == "abc…ijk"
    assert labels.text("learning_rate", 3e-4) == "3e-4"
    assert labels.text("task", "generated_coin_flip") == "Coin Flip (generated)"
    assert labels.text(None, "my_task") == "my_task"
