"""Arithmetic as people and models write it: signs, LaTeX, Markdown and words to tokens.

"$5.50 x 2 bottles − (3 + 1)"     $ 5.50 * 2 bottles - ( 3 + 1 )
"\\frac{1}{2} \\times 6 equals 3"    ( ( 1 ) / ( 2 ) ) * 6 = 3
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Kind = Literal["number", "operator", "equals", "open", "close", "currency", "percent", "word", "stop", "other"]

_CHARACTERS = str.maketrans(
    {"×": "*", "✕": "*", "⋅": "*", "·": "*", "∙": "*", "÷": "/", "∕": "/", "−": "-", "–": "-", "—": "-", "‑": "-"}
    | {"’": "'", "\u00a0": " ", "\u202f": " ", "²": "^2", "³": "^3", "°": "", "⇒": " → ", "＝": "=", "＋": "+"}
)
_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"<<[^<>]*>>", ""),  # GSM8K's calculator notes
        (r"\\(?:text|mathrm|mathbf|boxed)\s*\{([^{}]*)\}", r" \1 "),
        (r"(?<=\d)\s*\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}", r" \1/\2"),  # 6\frac{2}{3}
        (r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"((\1)/(\2))"),
        (r"\\(?:times|cdot|ast)\b", "*"),
        (r"\\div\b", "/"),
        (r"\\(?:left|right|quad|qquad)\b|\\[,!; ]", " "),
        (r"\\([$%])", r"\1"),
        (r"\\\\|\\[()\[\]]|\$\$", "\n"),
        (r"(?<=\d)\{,\}(?=\d)", ","),
        (r"&\s*=", "="),
        (r"-+>|=+>|[<>!]=|≠|≈|≃|~=|≤|≥|<-+", " → "),
        (r"={2,}", "="),
        (r"(?<![\d)\s])\s*\*\*|\*\*(?!\s*[\d(])|(?<=\s)\*\*(?=\d)", " "),  # bold type; 2**3 stays
        (r"\*\*", "^"),
        (r"(?<=[\d)%\w])\s*\b[xX]\s*(?=[$(]*\s*-?\.?\d)|(?<=\d)[xX](?=[$(]*\.?\d)", " * "),
        (r"\s*\n\s*(?==)|(?<==)[ \t]*\n\s*(?=[^=\n]*(?:\n|$))", " "),  # a chain that goes on in the next line
        (r"\.{3}|…", " ~ "),
        (r"(?i)(?<=\d) percent\b", "%"),
        (r"(?<![\d./])(\d+/\d+)\s?%", r"(\1)%"),
        (r"(?i)\bmultiplied by\b|\btimes\b(?=\s+[$(]?\d)", "*"),
        (r"(?i)\bdivided by\b", "/"),
        (r"(?i)\bplus\b(?=\s+[$(]?\d)", "+"),
        (r"(?i)\bminus\b(?=\s+[$(]?\d)", "-"),
        (r"(?i)\b(?:is equal to|equals)\b(?=\s+[$(]?-?\d)", "="),
        (r"(?i)(%|\d\s?/\s?\d+|\.\d+)\s+of\s+(?:the\s+|all\s+)?(?=[$(]?\d)", r"\1 ⊗ "),  # 20% of $50
        (r"(?<=\s)\(([^\W\d]+(?:\s[^\W\d]+){0,3})\)", r" \1 "),  # 5 (red apples) + 3
        (r"(?<![/.\d])(\d+)\s+and\s+(?=\d+\s?/\s?\d)", r"\1 "),  # 3 and 1/4
    )
)
_TOKEN = re.compile(
    r"(?P<other>\d+:\d+(?::\d+)?|\d+(?:st|nd|rd|th)\b|\d+(?:\.\d+){2,})"  # 3:30, 2nd, 1.2.3
    r"|(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|\.\d+)"
    r"|(?P<equals>=)|(?P<operator>[-+*/^⊗])|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<currency>[$€£¥₹])|(?P<percent>%)"
    r"|(?P<word>[^\W\d_]+(?:['-][^\W\d_]+)*)|(?P<stop>[.,;:?!→|\n\"])|(?P<rest>\S)"
)


class Token(NamedTuple):
    """A sign, a number or a word."""

    kind: Kind
    text: str
    glued: bool
    """Nothing stands between it and the token before."""


def tokens(text: str) -> list[Token]:
    """What the text consists of, after what is written in LaTeX, Markdown or words has become plain signs."""
    text = text.translate(_CHARACTERS)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    found: list[Token] = []
    end = -1
    for match in _TOKEN.finditer(text):
        kind, said = match.lastgroup, match[0]
        glued = match.start() == end
        if kind == "word" and len(said) == 1 and (glued or said not in "aAI"):
            kind = "other"  # a variable; a unit of one letter is taken for one, too
        found.append(Token("other" if kind == "rest" else kind, said, glued))  # type: ignore[arg-type]
        end = match.end()
    return found
