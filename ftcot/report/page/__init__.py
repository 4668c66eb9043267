"""The page: a report as one HTML file that needs no network, to be looked at rather than read.

    write(report, Path("report/index.html"))      0.5 MB and what was said: 6 KB a question of 200 students

assets/ holds the page itself: page.html, page.css and js/, plain scripts that are put one after the other. payload.py
makes what they show, packing.py and books.py keep texts small. Texts of models reach the screen as text nodes only, and
the file as base64 or as JSON without a `<`. A policy in the page (CSP) lets no script run but the page's own and Vega,
which it knows by their hashes, and nothing be loaded from anywhere. Vega, which draws the charts, is unpacked after the
first paint; its expressions are interpreted, as the policy forbids eval.
"""

from __future__ import annotations

import base64
import hashlib
import html
from functools import cache
from importlib.resources import files
from pathlib import Path

from ftcot.files import write_atomic
from ftcot.report.model import Report
from ftcot.report.page.packing import inline_json, packed
from ftcot.report.page.payload import build
from ftcot.report.palette import css

SCRIPTS = (
    *("dom", "numbers", "statistics", "differences", "books", "place", "names", "overview", "curves", "runs"),
    *("compare", "students", "teachers", "items", "extras", "main", "live"),
)
"""In the order in which they stand in the page."""


def write(report: Report, path: Path, detail: int = 10, refresh: int | None = None) -> None:
    """Write the page.

    Args:
        detail: how many runs have the texts of all their epochs; the others those of the last and the best one.
        refresh: seconds after which an open page loads itself again, as a sweep goes on; None: it does not.
    """
    payload, parts = build(report, detail, refresh)
    vega = _vega()
    parts["vega"] = packed(vega.encode())
    script = _script()
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {_source(script)} {_source(vega)}",
            "style-src 'unsafe-inline'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    holes = {
        "csp": policy,
        "title": html.escape(report.title),
        "css": css() + _asset("page.css"),
        "report": inline_json(payload),
        "script": script,
        "parts": "\n".join(
            f'<script type="application/octet-stream" id="{name}">{part}</script>' for name, part in parts.items()
        ),
    }
    pieces = _asset("page.html").split("@@")  # text, name of a hole, text, ...
    write_atomic(path, "".join(holes[piece] if place % 2 else piece for place, piece in enumerate(pieces)))


@cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed, as vl-convert brings them."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # the stub knows no default
    return bundle


@cache
def _script() -> str:
    scripts = "\n".join(_asset(f"js/{name}.js") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{scripts}\n}})();'


@cache
def _asset(name: str) -> str:
    return (files(__name__) / "assets" / name).read_text(encoding="utf-8")


def _source(script: str) -> str:
    """How the policy names a script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
