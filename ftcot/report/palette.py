"""Colours, markers and dashes of everything that a report shows: matplotlib, altair and the page.

    style(0)           Style(colour=0, marker="o", shape="circle", dash=())
    LIGHT.series[0]    "#2350c8"; on the dark page "#4a8cff"
    css()              ":root { --background: #ffffff; ... } @media (prefers-color-scheme: dark) { ... }"

The six colours of series were sought, not borrowed: any two are at least 10 apart (OKLab, in hundredths) to the eye
that sees all colours and to one without its red, green or blue cones (Machado, Oliveira and Fernandes 2009), and each
has the contrast of 3 with its background that WCAG 2.2 wants of graphics (1.4.11). Text has 4.5 (1.4.3). Colour is
never the only sign: a series has its marker and its dashes, and the seventh the first colour with others of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

FONT = "DejaVu Sans"
"""Of pictures: matplotlib brings it, so they look alike on every machine. The page has its own."""


@dataclass(frozen=True)
class Theme:
    """Colours on one background, as `#rrggbb`."""

    background: str
    surface: str
    """Of tables' heads, cards and code."""
    text: str
    muted: str
    """Text of less weight, and lines that are no data: a guess, the teacher."""
    grid: str
    border: str
    """Of what can be clicked or filled in."""
    link: str
    """Links, focus, what is selected."""
    on_link: str
    """Text on it."""
    good: str
    """Text that says right, holds, above; always with a sign or a word."""
    good_back: str
    """Behind it."""
    bad: str
    bad_back: str
    unsure: str
    unsure_back: str
    series: tuple[str, ...]
    heat: tuple[str, ...]
    """From low to high, on from the background."""


LIGHT = Theme(
    background="#ffffff",
    surface="#f4f5f7",
    text="#1b1f24",
    muted="#57606a",
    grid="#dde1e6",
    border="#7d8590",
    link="#1f4fc0",
    on_link="#ffffff",
    good="#0a665a",
    good_back="#def3ef",
    bad="#a03208",
    bad_back="#fde9e0",
    unsure="#4a525c",
    unsure_back="#eceef1",
    series=("#2350c8", "#f04e0c", "#0a9c8c", "#8a1962", "#ab70dc", "#605408"),
    heat=("#eef2fb", "#c9d6f3", "#9bb3e8", "#4e73cb", "#2f57ba", "#16307c"),
)

DARK = Theme(
    background="#14171c",
    surface="#1e2229",
    text="#e9ecf0",
    muted="#a8b0bb",
    grid="#343a43",
    border="#7b8591",
    link="#8ab4ff",
    on_link="#10141a",
    good="#6fe0b8",
    good_back="#12352c",
    bad="#ff9d6b",
    bad_back="#402316",
    unsure="#c3cad3",
    unsure_back="#2a3038",
    series=("#4a8cff", "#ff7a2f", "#4fdba0", "#c072ab", "#c4b2ff", "#eaf45c"),
    heat=("#1f2837", "#243857", "#2c4b80", "#4570bd", "#8fb2f0", "#dbe6ff"),
)


HEAT_TURN = 0.61
"""Up to this place between low and high the ink on a heat map is that of its low end, from there on the other: the same
in both themes, so that a chart can say it without naming a colour."""


@dataclass(frozen=True)
class Style:
    """How a series is told from the others."""

    colour: int
    """Which of a theme's `series`."""
    marker: str
    """matplotlib's letter."""
    shape: str
    """Vega's name of the same."""
    dash: tuple[int, ...]
    """Lengths of dash and gap, in line widths; empty for a whole line."""


_MARKERS = (("o", "circle"), ("s", "square"), ("^", "triangle-up"), ("D", "diamond"), ("v", "triangle-down"))
_DASHES: tuple[tuple[int, ...], ...] = ((), (5, 2), (2, 2), (6, 2, 1, 2))


def style(index: int) -> Style:
    """Of the series at this place; no two of the first sixty are alike, and no two neighbours share any sign."""
    marker, shape = _MARKERS[index % len(_MARKERS)]
    return Style(index % len(LIGHT.series), marker, shape, _DASHES[index % len(_DASHES)])


def contrast(one: str, other: str) -> float:
    """By WCAG, from 1 (the same) to 21 (black on white)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    """Relative, by WCAG: 0 is black, 1 white."""
    red, green, blue = linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def linear(colour: str) -> tuple[float, float, float]:
    """Red, green and blue of `#rrggbb` as light, each from 0 to 1 (the inverse of sRGB's curve)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return red, green, blue


def ink(background: str) -> str:
    """Black or white, whichever reads better on it."""
    return max(("#000000", "#ffffff"), key=lambda colour: contrast(colour, background))


def heat(theme: Theme, share: float) -> str:
    """The colour at a place between low (0) and high (1)."""
    place = min(max(share, 0.0), 1.0) * (len(theme.heat) - 1)
    below = min(int(place), len(theme.heat) - 2)
    pairs = ((theme.heat[below][at : at + 2], theme.heat[below + 1][at : at + 2]) for at in (1, 3, 5))
    mixed = (int(low, 16) + (place - below) * (int(high, 16) - int(low, 16)) for low, high in pairs)
    return "#" + "".join(f"{round(part):02x}" for part in mixed)


def css() -> str:
    """The themes as CSS variables: `--text`, `--good-back`, `--series-0`, `--heat-5`.

    Light by default, dark where the system is or `data-theme="dark"` says so on the root, light where that says
    `light` and on paper.
    """
    light, dark = " ".join(_declared(LIGHT)), " ".join(_declared(DARK))
    return (
        f":root {{ color-scheme: light; {light} }}\n"
        f'@media screen and (prefers-color-scheme: dark) {{ :root:not([data-theme="light"]) '
        f"{{ color-scheme: dark; {dark} }} }}\n"
        f'@media screen {{ :root[data-theme="dark"] {{ color-scheme: dark; {dark} }} }}\n'
    )


def _declared(theme: Theme) -> Iterator[str]:
    for field in fields(theme):
        value = getattr(theme, field.name)
        name = field.name.replace("_", "-")
        if isinstance(value, str):
            yield f"--{name}: {value};"
        else:
            yield from (f"--{name}-{place}: {colour};" for place, colour in enumerate(value))


def vega_config(theme: Theme) -> Mapping[str, Any]:
    """Vega-Lite's `config` that gives the specs of vega.py, which name no colour, the ones of a theme.

    The marks' styles: `level` (a guess, the teacher), `paper` (hollow points), `hole` (shapes on bars), `ink`
    (intervals on bars), `note` (words of less weight), `on_low` and `on_high` (numbers on a heat map).
    """
    words = {"labelColor": theme.text, "titleColor": theme.text}
    return {
        "background": None,
        "axis": {**words, "gridColor": theme.grid, "domainColor": theme.border, "tickColor": theme.border},
        "header": words,
        "legend": words,
        "title": {"color": theme.text, "subtitleColor": theme.muted},
        "view": {"stroke": None},
        "text": {"color": theme.text},
        "bar": {"color": theme.series[0]},
        "point": {"color": theme.series[0]},
        "line": {"color": theme.series[0]},
        "range": {
            "category": list(theme.series),
            "heatmap": list(theme.heat),
            "ramp": list(theme.heat),
            "symbol": [shape for _, shape in _MARKERS],
        },
        "style": {
            "level": {"stroke": theme.muted, "color": theme.muted},
            "note": {"color": theme.muted, "fill": theme.muted},
            "paper": {"fill": theme.background},
            "hole": {"color": theme.background, "fill": theme.background},
            "ink": {"color": theme.text, "stroke": theme.text},
            "on_low": {"color": ink(theme.heat[0]), "fill": ink(theme.heat[0])},
            "on_high": {"color": ink(theme.heat[-1]), "fill": ink(theme.heat[-1])},
        },
    }
