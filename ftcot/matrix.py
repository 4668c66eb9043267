"""The run matrix as a person sees it: which jobs there are, what is done, and what the rest would take.

    jobs to run              greedy  D = 1  D = 2  D = 4  D = 8     to run  done
      multiarith                         9      9      9      9         36     0
      commonsense_qa             9*                          9*         18     0
    student      to run  to train  to generate  one job  device-hours  speed
      gpt2           38      1.2B  4.1M to 61M    2.1 h            81  3 earlier runs

Few jobs are a line each. `*` marks what the paper has no cell for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from rich.console import Console

from ftcot import display
from ftcot.costs import Cost, Sharing
from ftcot.walltime import at_once, wall

LINES = 24
"""Jobs that have a line each; more are counted."""

COLUMNS = 10
"""Of the table that counts them, at most."""

ROWS = 40

NEW = "*"

TOKENS = ("tokens to train on", "tokens to generate")


def show_matrix(console: Console, costs: Sequence[Cost], sharing: Sharing) -> None:
    """Say which jobs there are and what they would take."""
    missing = [cost for cost in costs if cost.job.decision.action != "reused"]
    if len(costs) <= LINES:
        _lines(console, costs)
    else:
        _states(console, costs)
        _counts(console, costs)
        if missing:
            _by_student(console, missing)
    if any(cost.is_new for cost in costs):
        _say(console, f"{NEW} new: the paper has this task, but no such cell")
    _total(console, missing, sharing)


def _say(console: Console, line: str) -> None:
    # On a terminal between words; in a pipe a line is a line.
    console.print(line, soft_wrap=not console.is_terminal, highlight=False, markup=False)


def _lines(console: Console, costs: Sequence[Cost]) -> None:
    several = len(costs) > 1
    head = ("", "job", "would be", "pairs", *TOKENS, "time")
    rows: list[tuple[str, ...]] = [head]
    for number, cost in enumerate(costs):
        label = cost.job.label + (f" {NEW}" if cost.is_new else "")
        rows.append((str(number) if several else "", label, cost.job.would_be, *_cells([cost]), _time(cost.seconds)))
    if several and any(_cells(costs)):
        rows.append(("", "all", "", *_cells(costs), ""))
    display.table(console, rows, right={0, 3, 4, 5, 6}, key=2, indent="  ")


def _cells(costs: Sequence[Cost]) -> tuple[str, str, str]:
    """Pairs, tokens to train, and tokens to generate of these jobs together; empty where there is nothing."""
    pairs = sum(cost.pairs for cost in costs)
    supervised, new = sum(cost.supervised for cost in costs), sum(cost.generated for cost in costs)
    most = sum(cost.work.most_new_tokens for cost in costs)
    return (
        f"{pairs:,.0f}" if pairs else "",
        display.short(supervised) if supervised else "",
        f"{display.short(new)} (at most {display.short(most)})" if most else "",
    )


def _states(console: Console, costs: Sequence[Cost]) -> None:
    """`312 new, 2 continued after curate, 28 reused`."""
    states = Counter(cost.job.would_be for cost in costs)
    words = {"reused": "done already", "new": "to run"}
    said = ", ".join(f"{n} {words.get(state, f'would be {state}')}" for state, n in states.items())
    _say(console, f"jobs  {said}")


def _counts(console: Console, costs: Sequence[Cost]) -> None:
    """How many jobs there are of each kind."""
    facts = [_facts(cost) for cost in costs]
    across, down = _layout(facts)
    usual = {key: value for key in down if key not in NAMED if (value := _usual(facts, key))}
    cells: dict[tuple[str, ...], dict[tuple[str, ...], list[Cost]]] = {}
    for cost, fact in zip(costs, facts, strict=True):
        row, column = tuple(fact.get(key, "") for key in down), tuple(fact.get(key, "") for key in across)
        cells.setdefault(row, {}).setdefault(column, []).append(cost)
    columns = sorted({column for row in cells.values() for column in row}, key=_order)

    def label(row: tuple[str, ...]) -> str:
        return " ".join(value for key, value in zip(down, row, strict=True) if value and value != usual.get(key))

    any_done = any(cost.job.decision.action == "reused" for cost in costs)
    head = ["", *(" ".join(filter(None, column)) or f"no {across[0]}" for column in columns), "jobs"]
    rows = [(*head, "done") if any_done else tuple(head)]
    for row, found in list(cells.items())[:ROWS]:
        together = [cost for costs in found.values() for cost in costs]
        counted = [label(row), *(_count(found.get(column, [])) for column in columns)]
        counted.append(str(len(together)))
        rows.append((*counted, str(_n_done(together))) if any_done else tuple(counted))
    what = "jobs to run" if any_done else "jobs"
    counted_over = {key: {fact[key] for fact in facts if key in fact} for key in FOLDED}
    folded = [f"{len(values)} {key}s" for key, values in counted_over.items() if len(values) > 1]
    by = " and ".join(key.rpartition(".")[2] for key in across)
    of_each = f", each cell over {' and '.join(folded)}" if folded else ""
    where = f"; where nothing else is said {' '.join(usual.values())}" if usual else ""
    _say(console, f"{what} by {by}{of_each}{where}")
    display.table(console, rows, right=set(range(1, len(rows[0]))), key=1, indent="  ")
    if len(cells) > ROWS:
        _say(console, f"  and {len(cells) - ROWS} more rows")


def _count(costs: Sequence[Cost]) -> str:
    """`9`, `9*`; `done` where nothing is left to run; empty where there is no job."""
    if not costs:
        return ""
    left = len(costs) - _n_done(costs)
    return (str(left) if left else "done") + NEW * any(cost.is_new for cost in costs)


def _n_done(costs: Sequence[Cost]) -> int:
    return sum(cost.job.decision.action == "reused" for cost in costs)


FEW = 24
"""Rows that are still read at a glance: then fewer columns are better than fewer rows."""

NAMED = ("task", "method")
"""Facts that every row says."""

FOLDED = ("student", "seed")
"""Facts that a cell counts over, where others tell jobs apart too."""


def _facts(cost: Cost) -> dict[str, str]:
    """What tells a job from the others, by the name of its key."""
    checked = cost.job.checked
    job = checked.job
    facts = {"task": job.task.name, "method": job.method.name, "student": job.student.name}
    if job.needs_teacher:
        facts["D"] = "greedy" if job.diversity.temperature == 0 else f"D={job.diversity.degree}"
    for word in cost.job.overrides:
        key, _, value = word.lstrip("+").partition("=")
        if key not in ("task", "method", "student", "diversity"):
            facts[key] = value if key in FOLDED else f"{key.rpartition('.')[2]}={value}"
    return facts


def _layout(facts: Sequence[dict[str, str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The keys that stand across and those that stand down: so that there are few rows, and not too many columns."""
    keys = list(dict.fromkeys(key for fact in facts for key in fact))
    varying = [key for key in keys if len({fact.get(key) for fact in facts}) > 1]
    shown = [key for key in varying if key not in FOLDED] or varying or ["task"]

    def n(chosen: Sequence[str]) -> int:
        return len({tuple(fact.get(key) for key in chosen) for fact in facts})

    for key in [key for key in reversed(shown) if key not in (*NAMED, "D")]:
        without = [other for other in shown if other != key]
        if without and n(without) == n(shown):  # it follows from the others: the size of a task, say
            shown = without
    candidates = [(key,) for key in shown if key != "task"] + list(combinations([k for k in shown if k != "task"], 2))
    fitting = [keys for keys in candidates if n(keys) <= COLUMNS] or [(shown[0],)]
    rows = {keys: n([key for key in shown if key not in keys]) for keys in fitting}
    across = min(fitting, key=lambda keys: (max(rows[keys], FEW), len(keys), rows[keys]))
    down = tuple(key for key in shown if key not in across)
    return across, (("task", *down) if "task" not in (*across, *down) else down)


def _usual(facts: Sequence[dict[str, str]], key: str) -> str | None:
    """The value that most jobs have."""
    [(value, count)] = Counter(fact.get(key, "") for fact in facts).most_common(1)
    return value if 2 * count > len(facts) else None


def _order(column: tuple[str, ...]) -> tuple[tuple[str, float, str], ...]:
    """Columns as a person orders them: D=2 before D=16, greedy first."""

    def part(text: str) -> tuple[str, float, str]:
        name, _, value = text.rpartition("=")
        try:
            return (name, float(value), text)
        except ValueError:
            return (name, -1.0, text)

    return tuple(part(text) for text in column)


def _by_student(console: Console, costs: Sequence[Cost]) -> None:
    """What the jobs of each student would take."""
    groups: dict[tuple[str, str], list[Cost]] = {}
    for cost in costs:
        groups.setdefault((cost.job.checked.job.student.name, cost.source.partition(":")[0]), []).append(cost)
    head = ("student", "jobs", *TOKENS, "a job", "device-hours", "speed from")
    rows: list[tuple[str, ...]] = [head]
    for (student, source), of_student in groups.items():
        known = [cost.seconds for cost in of_student if cost.seconds is not None]
        times = (_time(sum(known) / len(known)), _hours(of_student)) if known else ("", "")
        rows.append((student, str(len(of_student)), *_cells(of_student)[1:], *times, source))
    rows.append(("all", str(len(costs)), *_cells(costs)[1:], "", _hours(costs), ""))
    _say(console, "what they would take")
    display.table(console, rows, right={1, 2, 3, 4, 5}, key=1, indent="  ")


def _hours(costs: Sequence[Cost]) -> str:
    hours = sum(cost.device_seconds for cost in costs) / 3600
    unknown = any(cost.seconds is None for cost in costs)
    if unknown and not hours:
        return ""
    return f"{hours:,.{0 if hours >= 99.5 else 1 if hours >= 9.95 else 2}f}" + (" or more" if unknown else "")


def _total(console: Console, costs: Sequence[Cost], sharing: Sharing) -> None:
    """Time of all of them, and where the figures are from."""
    working = [cost for cost in costs if cost.work.tests]
    if not working:
        return
    known = [cost for cost in working if cost.seconds is not None]
    if known:
        n = at_once(known, sharing)
        devices = " and ".join(dict.fromkeys(cost.device for cost in known if cost.device))
        line = f"time  {_hours(known)} device-hours" + (f" ({devices})" if devices else "")
        if n is not None and len(costs) > 1:
            line += f"; all done in about {_time(wall(known, n))}, {n} at a time"
        sources = Counter("earlier runs" if "earlier" in cost.source else cost.source for cost in known)
        _say(console, f"{line}; speeds from {' and '.join(sources)}")
    unknown = [cost for cost in working if cost.seconds is None]
    if unknown:
        n_left = f"{len(unknown)} jobs" if len(unknown) > 1 else "the job"
        reasons = dict.fromkeys(cost.source.partition(": ")[2] for cost in unknown)
        more = f" (and {len(reasons) - 1} more for the like)" if len(reasons) > 1 else ""
        _say(console, f"time  of {n_left} not known: {next(iter(reasons))}{more}")


def _time(seconds: float | None) -> str:
    """`40 s`, `7 min`, `5.2 h`, `12 days`: no more digits than an estimate has."""
    if seconds is None:
        return "not known"
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.{1 if seconds < 10 * size and unit != 'min' else 0}f} {unit}"
    return f"{seconds:.0f} s" if seconds else ""
