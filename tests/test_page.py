"""The page in a real browser: opened from a file, without network, by mouse and by keyboard."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from ftcot.records import Completion, Prediction, read_records, write_records
from ftcot.report import page
from ftcot.report.making import Asked, make
from ftcot.report.model import Report
from ftcot.sample_study import kind_of
from tests.report_folders import make_run, make_sweep

SECTIONS = ("overview", "curves", "runs", "compare", "items", "card", "cost", "made", "run?r=0")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

PATIENCE = 120_000
"""Milliseconds to wait for what is bound to come: other tests may hold the cores."""

Open = Callable[..., Any]

HOSTILE = (
    "<script>window.broken = 1</script>",
    "</script><img src=x onerror='window.broken = 1'>",
    "<!-- <script> \"quoted\" & 'quoted' &lt;b&gt; `${1}`",
    "\u202ekcart siht\u202c \u05e9\u05dc\u05d5\u05dd \u2067right to left",
    "NUL \0, bell \a, half a pair \ud800, line \u2028 and \u2029 ends",
    "long " * 20_000,
    "",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        arguments += ["--disable-dev-shm-usage"]  # a container's /dev/shm may be too small for a tab
        launched = started.chromium.launch(executable_path=found, args=arguments)
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Opens a file at a place of it; in the end nothing may have failed, and nothing been asked of a network."""
    contexts, wrong = [], []

    def opened(path: Path, place: str = "", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        context.set_offline(True)
        tab = context.new_page()
        tab.on("console", lambda line: wrong.append(line.text) if line.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("dialog", lambda dialog: wrong.append(dialog.message))
        tab.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith("file:") else None)
        tab.goto(f"{path.as_uri()}#{place}")
        ready(tab, place)
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Vanilla fine-tuning and D = 1, 8, two seeds each; a teacher that is wrong at times; one job more that failed."""
    path = tmp_path_factory.mktemp("runs")
    words = ("teacher.skill=0.95",)
    methods, degrees = ("fine_tune", "fine_tune_cot"), (1, 8)
    make_sweep(path / "sweep", n_seeds=2, degrees=degrees, methods=methods, n_questions=40, figure=None, words=words)
    make_run(path / "failed", "seed=9", state="failed")
    return make(Asked((path,)))


@pytest.fixture(scope="module")
def written(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "a page #1?.html"
    page.write(report, path)
    return path


def ready(tab: Any, place: str) -> None:
    name = place.partition("?")[0] or "overview"
    tab.wait_for_selector(f"#in-{name}[data-ready]")


def go(tab: Any, place: str) -> None:
    """As if somebody had typed the address."""
    tab.evaluate("place => { location.hash = place; }", f"#{place}")
    tab.wait_for_function("place => location.hash.startsWith('#' + place)", arg=place.partition("?")[0])
    ready(tab, place)


def tab_to(tab: Any, selector: str, most: int = 120) -> None:
    """By the tabulator key alone, to the element."""
    for _ in range(most):
        tab.keyboard.press("Tab")
        if tab.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is not reached in {most} steps")


def rows(tab: Any) -> list[str]:
    """The runs that the table shows, as its first column names them."""
    return [text.strip() for text in tab.locator("#runs-table tbody th").all_inner_texts()]


def column(tab: Any, heading: str) -> list[str]:
    names = [text.strip(" ▲▼") for text in tab.locator("#runs-table thead th").all_inner_texts()]
    place = names.index(heading) + 1
    found: list[str] = tab.locator(f"#runs-table tbody tr > :nth-child({place})").all_inner_texts()
    return found


def right_in(report: Report, place: int) -> Any:
    run = report.found.runs[place]
    return run.right[run.score.epoch]


def test_the_first_view_says_what_was_found_and_what_not(written: Path, report: Report, open_page: Open) -> None:
    text = open_page(written).locator("main").inner_text()
    [finding] = report.charts[0].findings
    assert finding.claim in text
    assert finding.word in text
    for asked in (
        "Does diversity help here?",
        "By how much",
        "How sure",
        "At what cost",
        "On which questions",
        "The paper",
    ):
        assert asked in text
    assert f"{100 * finding.effect:+.1f} points" in text
    assert "p < 0.0001" in text or "p = 0.0" in text
    assert "failed (JobError: the loss is not finite)" in text


def test_charts_are_drawn_and_stand_as_tables_too(written: Path, report: Report, open_page: Open) -> None:
    tab = open_page(written, "curves")
    assert tab.locator("#chart-0 .on-light svg path").count() > 3
    assert tab.locator("#chart-0 svg").first.bounding_box()["width"] > 300
    tab.locator("#chart-0 summary").last.click()
    table = tab.locator("#chart-0 table").inner_text()
    points = [point for panel in report.charts[0].panels for series in panel.series for point in series.points]
    for point in points:
        assert f"{100 * point.cell.last.accuracy:.2f} %" in table
    tab.select_option("#chart-0 select", "Fine-tune")
    tab.wait_for_function("document.querySelector('#chart-0 .on-light svg [opacity^=\"0.\"]')")


def test_runs_are_searched_sorted_and_filtered(written: Path, report: Report, open_page: Open) -> None:
    tab = open_page(written, "runs")
    assert len(rows(tab)) == len(report.found.runs) == 6
    tab.fill("#find-runs", report.found.runs[3].hash[:10])
    assert len(rows(tab)) == 1
    assert "1 of 6 runs" in tab.locator("#in-runs [role=status]").inner_text()
    tab.fill("#find-runs", "no such thing")
    assert rows(tab) == []
    tab.click("text=Clear")
    tab.get_by_label("Method").select_option("fine_tune_cot")
    tab.get_by_label("D", exact=True).select_option("8")
    assert len(rows(tab)) == 2
    tab.click("text=Clear")
    tab.click("#runs-table th button:has-text('Accuracy')")
    shown = [float(text.split()[0]) for text in column(tab, "Accuracy, 95 %")]
    assert shown == sorted(shown)
    tab.click("#runs-table th button:has-text('Accuracy')")
    assert [float(text.split()[0]) for text in column(tab, "Accuracy, 95 %")] == sorted(shown, reverse=True)
    assert tab.locator("[aria-sort=descending]").count() == 1
    degrees = []
    for _ in range(2):  # what has no value goes last, up or down
        tab.click("#runs-table th button:text-is('D')")
        degrees.append(column(tab, "D"))
    assert degrees == [["1", "1", "8", "8", "–", "–"], ["8", "8", "1", "1", "–", "–"]]
    tab.reload()  # the address knows all of it
    ready(tab, "runs")
    assert column(tab, "D") == degrees[1]


def test_everything_is_reached_by_keyboard_alone(written: Path, open_page: Open) -> None:
    tab = open_page(written)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "skip"
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "main"
    tab.reload()
    ready(tab, "")
    tab_to(tab, "#tab-runs")
    tab.keyboard.press("Enter")
    ready(tab, "runs")
    assert tab.evaluate("document.activeElement.textContent") == "Runs"
    tab_to(tab, "#find-runs")
    tab.keyboard.type("fine_tune_cot")
    assert len(rows(tab)) == 4
    tab_to(tab, "#runs-table th button")
    tab.keyboard.press("Enter")
    assert tab.locator("[aria-sort=ascending]").count() == 1
    tab_to(tab, "#runs-table tbody a")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#in-run h2:has-text('Run')")
    tab_to(tab, "#in-run a[href^='#items']")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#in-items[data-open]")
    first = tab.locator("#which").inner_text()
    tab.keyboard.press("ArrowRight")
    tab.wait_for_function("first => document.querySelector('#which').innerText !== first", arg=first)
    tab.keyboard.press("ArrowLeft")
    tab.wait_for_function("first => document.querySelector('#which').innerText === first", arg=first)
    tab_to(tab, "#next")
    tab.keyboard.press("Space")
    tab.wait_for_function("first => document.querySelector('#which').innerText !== first", arg=first)
    tab_to(tab, "#in-items .cell summary")
    before = tab.evaluate("document.activeElement.parentElement.open")
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.parentElement.open") != before
    go(tab, "compare")
    tab_to(tab, "#in-compare select")
    before = tab.locator("#difference").inner_text()
    # By one key: a name typed must come letter upon letter, which a busy machine does not do.
    tab.keyboard.press("End" if tab.evaluate("document.activeElement.selectedIndex") == 0 else "Home")
    tab.wait_for_function("before => document.querySelector('#difference')?.innerText !== before", arg=before)


def test_questions_are_filtered_by_what_became_of_them(written: Path, report: Report, open_page: Open) -> None:
    tab = open_page(written, "items")
    right = sum(right_in(report, place).astype(int) for place in range(6))
    show = tab.locator("#in-items .field:has-text('Show') select")
    for value, wanted in (("wrong", right == 0), ("right", right == 6), ("mixed", (right > 0) & (right < 6))):
        show.select_option(value)
        assert f"{wanted.sum()} of 40 questions" in tab.locator("#in-items [role=status]").inner_text()
    show.select_option(tab.locator("option:has-text('truncated')").first.get_attribute("value"))
    cut = {
        one.sample_index for run in report.found.runs for one in run.said() if kind_of(one, None, "-->") == "truncated"
    }
    assert f"{len(cut)} of 40 questions" in tab.locator("#in-items [role=status]").inner_text()
    show.select_option("")
    text = report.questions[report.found.runs[0].task_key].test[report.found.runs[0].asked[5]].question
    tab.fill("#find-questions", text)
    tab.wait_for_function("document.querySelectorAll('#questions li').length === 1")
    assert text in tab.locator("#item .said").first.inner_text()


def test_a_question_shows_what_each_student_said_in_each_epoch(written: Path, report: Report, open_page: Open) -> None:
    tab = open_page(written, "items?q=3")
    tab.wait_for_selector("#in-items[data-open]")
    run = report.found.runs[-1]
    first, last = (run.said(epoch)[3].text.strip() for epoch in (1, 2))
    voice = tab.locator("#in-items .cell:has(h5)").last.locator(".voice").last
    assert voice.locator(".said").first.inner_text().strip() == first
    texts = voice.locator(".said").last
    without = "(e, name) => [...e.childNodes].filter(n => n.nodeName !== name).map(n => n.textContent).join('')"
    assert texts.evaluate(without, "DEL").strip() == last
    assert texts.evaluate(without, "INS").split() == first.split()


def test_a_training_question_shows_the_rationales_and_why_they_were_dropped(
    written: Path, report: Report, open_page: Open
) -> None:
    tab = open_page(written, "items?book=1&who=1")
    tab.wait_for_selector("#in-items[data-open]")
    run = next(run for run in report.found.runs if run.facts.diversity == 8)
    index = int(tab.locator("#which").inner_text().split("#")[1].split()[0])
    drawn = [one for one in run.completions if one.sample_index == index]
    assert [text.strip() for text in tab.locator("#item .card .said").all_inner_texts()] == [
        one.rationale.strip() for one in drawn
    ]
    tab.locator("#in-items .field:has-text('Show') select").select_option("reason1")
    tab.wait_for_selector("text=not kept: wrong answer")
    wrong = {one.sample_index for one in run.completions if not one.correct}
    assert f"{len(wrong)} of 24 questions" in tab.locator("#in-items [role=status]").inner_text()
    go(tab, "items?book=0&q=0")
    tab.wait_for_selector("#taught")
    tab.click("#taught > summary")
    tab.wait_for_selector("#taught .said")
    assert tab.locator("#taught .said").count() == 3 * 8


@pytest.mark.parametrize(("a", "b"), [(0, 1), (0, 5), (5, 0), (2, 4)])
def test_two_runs_differ_by_what_scipy_says(written: Path, report: Report, open_page: Open, a: int, b: int) -> None:
    tab = open_page(written, f"compare?a=r{a}&b=r{b}")
    x, y = right_in(report, a), right_in(report, b)
    only_a, only_b = int((x & ~y).sum()), int((~x & y).sum())
    p = float(tab.get_attribute("#p-value", "data-p"))
    assert p == pytest.approx(binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0)
    cells = [int(text) for text in tab.locator("#crossed td").all_inner_texts()]
    assert cells == [int((x & y).sum()), only_a, only_b, int((~x & ~y).sum())]
    asked = report.found.runs[a].asked
    for name, flipped in (("gained", ~x & y), ("lost", x & ~y)):
        found = [int(text.split()[0][1:]) for text in tab.locator(f"#flips-{name} a").all_inner_texts()]
        assert found == [index for index, flag in zip(asked, flipped, strict=True) if flag]


def test_a_question_that_flipped_is_opened_with_both_answers(written: Path, open_page: Open) -> None:
    tab = open_page(written, "compare")
    tab.locator("#flips-gained a").first.click()
    tab.wait_for_selector("#in-items[data-open] .pair .card")
    assert tab.locator(".pair .card").count() == 4  # two seeds, A and B
    tab.go_back()
    tab.wait_for_selector("#in-compare #difference")


def test_settings_are_compared_over_all_seeds(written: Path, report: Report, open_page: Open) -> None:
    tab = open_page(written, "overview")
    tab.locator("a:has-text('which?')").first.click()
    tab.wait_for_selector("#difference")
    first, last = (next(c for c in report.cells if c.facts.diversity == d) for d in (1, 8))
    assert f"{100 * (last.last.accuracy - first.last.accuracy):+.1f} points" == tab.locator("#difference").inner_text()
    known = next(one for one in report.comparisons if {one.a.key, one.b.key} == {first.key, last.key})
    assert float(tab.get_attribute("#p-value", "data-p")) == pytest.approx(known.p)
    assert f"The report’s test: {known.test}" in tab.locator("#in-compare").inner_text()


def test_a_run_has_a_page_of_its_own(written: Path, report: Report, open_page: Open) -> None:
    tab = open_page(written, "run?r=5")
    text = tab.locator("#in-run").inner_text()
    assert f"{100 * report.found.runs[5].score.accuracy:.2f} %" in text
    assert report.found.runs[5].hash in text
    tab.click("text=Config")
    tab.wait_for_function("document.querySelector('#in-run pre').textContent.includes('ftcot.teacher.Diversity')")
    go(tab, "run?r=99")
    tab.wait_for_selector("text=No such run")


def test_the_theme_is_the_systems_until_it_is_chosen(written: Path, open_page: Open) -> None:
    tab = open_page(written, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = tab.evaluate(background)
    tab.click("#theme")
    light = tab.evaluate(background)
    assert (dark, light) == ("rgb(20, 23, 28)", "rgb(255, 255, 255)")
    tab.reload()
    ready(tab, "")
    assert tab.evaluate(background) == light


def test_paper_has_all_that_is_worth_printing_in_light_colours(written: Path, open_page: Open) -> None:
    tab = open_page(written, color_scheme="dark")
    tab.wait_for_selector("html[data-complete]")
    tab.emulate_media(media="print")
    for section in ("overview", "curves", "runs", "card", "cost", "made"):
        assert tab.locator(f"#in-{section}").is_visible(), section
    assert not tab.locator("nav").is_visible()
    assert tab.evaluate("getComputedStyle(document.body).color") == "rgb(27, 31, 36)"
    assert tab.locator("#chart-0 .on-light").evaluate("e => getComputedStyle(e).visibility") == "visible"
    assert not tab.locator("#chart-0 .on-dark").is_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_violation(written: Path, open_page: Open, theme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    tab = open_page(written, color_scheme=theme)
    for place in SECTIONS:
        go(tab, place)
        if place == "items":
            tab.wait_for_selector("#in-items[data-open]")
        tab.evaluate("document.querySelectorAll('main details').forEach(e => { e.open = true; })")
        violations = Axe().run(tab).response["violations"]
        serious = [one for one in violations if one["impact"] in ("serious", "critical")]
        found = [(one["id"], [node["target"] for node in one["nodes"]][:3]) for one in serious]
        assert found == [], place


def test_a_narrow_screen_never_scrolls_sideways(written: Path, open_page: Open) -> None:
    tab = open_page(written, viewport={"width": 360, "height": 700})
    for place in SECTIONS:
        go(tab, place)
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), place


def test_what_models_wrote_is_shown_as_text(tmp_path: Path, open_page: Open) -> None:
    folder = make_run(tmp_path / "run", "diversity=1", n_questions=len(HOSTILE), epochs=(1,))
    file = folder / "predictions.jsonl"
    asked = read_records(file, Prediction)
    write_records(file, [replace(one, text=text) for one, text in zip(asked, HOSTILE, strict=True)])
    file = folder / "completions.jsonl"
    drawn = read_records(file, Completion)
    said = [HOSTILE[place % len(HOSTILE)] for place in range(len(drawn))]
    write_records(file, [replace(one, rationale=text) for one, text in zip(drawn, said, strict=True)])
    report = make(Asked((tmp_path,)))
    path = tmp_path / "page.html"
    page.write(replace(report, title="</title><script>window.broken = 1</script>", command=HOSTILE[1]), path)
    tab = open_page(path)
    assert "</title><script>" in tab.locator("h1").inner_text()
    for book, texts in ((0, HOSTILE), (1, said[: len(HOSTILE)])):
        for number, text in enumerate(texts):
            go(tab, f"items?book={book}&q={number}")
            block = tab.locator("#item .cell .said" if book == 0 else "#item .card .said").first
            block.wait_for(state="attached")
            tab.wait_for_function(f"document.querySelector('#which').innerText.includes('· {number + 1} of')")
            shown = text if book == 0 else text.strip()
            shown = "".join(chr(0x2400 + ord(c)) if c in "\0\a" else c for c in shown).replace("\ud800", "\ufffd")
            if len(shown) > 3000:
                assert len(block.text_content()) < 3000
                block.locator("button").click()
            assert block.evaluate("e => e.textContent.toWellFormed()") == shown
            assert block.evaluate("e => getComputedStyle(e).unicodeBidi") == "plaintext"
    for place in ("card", "made"):
        go(tab, place)
    assert tab.evaluate("window.broken") is None
    assert "<script>" not in path.read_text().partition('id="report"')[2].partition("</script>")[0]


def test_a_page_that_is_watched_loads_itself_again_where_the_reader_is(
    report: Report, tmp_path: Path, open_page: Open
) -> None:
    path = tmp_path / "page.html"
    page.write(report, path, refresh=1)
    tab = open_page(path, "runs")
    assert "This page loads itself again every 1 s" in tab.locator("#live").inner_text()
    page.write(replace(report, title="There is more"), path)
    tab.wait_for_selector("h1:has-text('There is more')")
    ready(tab, "runs")
    assert not tab.locator("#live").is_visible()  # it has ended


def test_reloading_can_be_paused(report: Report, tmp_path: Path, open_page: Open) -> None:
    path = tmp_path / "page.html"
    page.write(report, path, refresh=1)
    tab = open_page(path)
    tab.click("text=Pause reloading")
    tab.evaluate("window.kept = 1")
    page.write(replace(report, title="There is more"), path)
    tab.wait_for_timeout(2500)
    assert tab.evaluate("window.kept") == 1


def test_the_same_report_gives_the_same_bytes(report: Report, written: Path, tmp_path: Path) -> None:
    page.write(report, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == written.read_bytes()


def test_runs_without_anything_to_compare_make_a_page_too(tmp_path: Path, open_page: Open) -> None:
    make_run(tmp_path / "run", "method=zero_shot", n_questions=5)
    report = make(Asked((tmp_path,)))
    path = tmp_path / "page.html"
    page.write(report, path)
    tab = open_page(path)
    assert "No finding can be tested" in tab.locator("main").inner_text()
    for place in SECTIONS:
        go(tab, place)
