"""Arithmetic as people and models write it: signs, LaTeX, Markdown and words to tokens.

"$5.50 x 2 bottles − (3 + 1)"     $ 5.50 * 2 bottles - ( 3 + 1 )
"\\frac{1}{2} \\times 6 equals 3"    ( ( 1 ) / ( 2 ) ) * 6 = 3
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Literal, NamedTuple

Kind = Literal["number", "operator", "equals", "open", "close", "currency", "percent", "word", "stop", "other"]

_CHARACTERS = str.maketrans(
    {"×": "*", "✕": "*", "⋅": "*", "·": "*", "∙": "*", "÷": "/", "∕": "/", "−": "-", "–": "-", "—": "-", "‑": "-"}
    | {"’": "'", "\u00a0": " ", "\u202f": " ", "²": "^2", "³": "^3", "°": "", "⇒": " → ", "＝": "=", "＋": "+"}
)
_REWRITES = tuple(
    (signs, "(?i)" in pattern, re.compile(pattern), replacement)
    for signs, pattern, replacement in (
        (("<<",), r"<<[^<>]*>>", ""),  # GSM8K's calculator notes
        (("\\",), r"\\(?:text|mathrm|mathbf|boxed)\s*\{([^{}]*)\}", r" \1 "),
        (("\\",), r"(?<=\d)\s*\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}", r" \1/\2"),  # 6\frac{2}{3}
        (("\\",), r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"((\1)/(\2))"),
        (("\\",), r"\\(?:times|cdot|ast)\b", "*"),
        (("\\",), r"\\div\b", "/"),
        (("\\",), r"\\(?:left|right|quad|qquad)\b|\\[,!; ]", " "),
        (("\\",), r"\\([$%])", r"\1"),
        (("\\", "$$"), r"\\\\|\\[()\[\]]|\$\$", "\n"),
        (("{",), r"(?<=\d)\{,\}(?=\d)", ","),
        (("&",), r"&\s*=", "="),
        ((">", "<", "!=", "~=", "≠", "≈", "≃", "≤", "≥"), r"-+>|=+>|[<>!]=|≠|≈|≃|~=|≤|≥|<-+", " → "),
        (("==",), r"={2,}", "="),
        (("**",), r"(?<![\d)\s])\s*\*\*|\*\*(?!\s*[\d(])|(?<=\s)\*\*(?=\d)", " "),  # bold type; 2**3 stays
        (("**",), r"\*\*", "^"),
        (("x", "X"), r"(?<=[\d)%\w])\s*\b[xX]\s*(?=[$(]*\s*-?\.?\d)|(?<=\d)[xX](?=[$(]*\.?\d)", " * "),
        (("\n",), r"\s*\n\s*(?==)|(?<==)[ \t]*\n\s*(?=[^=\n]*(?:\n|$))", " "),  # a chain that goes on in the next line
        (("...", "…"), r"\.{3}|…", " ~ "),
        (("percent",), r"(?i)(?<=\d) percent\b", "%"),
        (("%",), r"(?<![\d./])(\d+/\d+)\s?%", r"(\1)%"),
        (("multiplied by", "times"), r"(?i)\bmultiplied by\b|\btimes\b(?=\s+[$(]?\d)", "*"),
        (("divided by",), r"(?i)\bdivided by\b", "/"),
        (("plus",), r"(?i)\bplus\b(?=\s+[$(]?\d)", "+"),
        (("minus",), r"(?i)\bminus\b(?=\s+[$(]?\d)", "-"),
        (("equal",), r"(?i)\b(?:is equal to|equals)\b(?=\s+[$(]?-?\d)", "="),
        (("of",), r"(?i)(%|\d\s?/\s?\d+|\.\d+)\s+of\s+(?:the\s+|all\s+)?(?=[$(]?\d)", r"\1 ⊗ "),  # 20% of $50
        (("(",), r"(?<=\s)\(([^\W\d]+(?:\s[^\W\d]+){0,3})\)", r" \1 "),  # 5 (red apples) + 3
        (("/",), r"(?<![/.\d])(\d+)\s+and\s+(?=\d+\s?/\s?\d)", r"\1 "),  # 3 and 1/4
    )
)
"""What a text has to hold for a pattern to match (one of these at least; looking for them is quicker), in whatever case
or not, the pattern, and what takes its place."""
_END = re.compile(r"[\n;?!→|\"]|[.,:](?!\d)")
"""What is a stop wherever it stands."""
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
    """What the text consists of, after what is written in LaTeX, Markdown or words has become plain signs.

    What stands between two stops and holds no equals sign is left out: nothing is to be learnt from it.
    """
    plain = text.isascii()
    text = text if plain else text.translate(_CHARACTERS)
    for signs, any_case, pattern, replacement in _REWRITES:
        # Beyond ASCII there are letters that are the same as another one in a pattern, but not in lower().
        if plain:
            looked_at = text.lower() if any_case else text
            for sign in signs:
                if sign in looked_at:
                    break
            else:
                continue
        text = pattern.sub(replacement, text)
        plain = text.isascii()
    found: list[Token] = []
    for start, stop in pairwise([0, *(match.start() for match in _END.finditer(text)), len(text)]):
        if text.find("=", start, stop) >= 0:
            found += _apart(text, start, stop + 1)  # with the stops on both sides
    return found


def _apart(text: str, start: int, stop: int) -> list[Token]:
    """The tokens of a piece of the text."""
    found: list[Token] = []
    end = -1
    for match in _TOKEN.finditer(text, start, stop):
        kind, said = match.lastgroup, match[0]
        glued = match.start() == end
        if kind == "rest" or (kind == "word" and len(said) == 1 and (glued or said not in "aAI")):
            kind = "other"  # a letter is a variable; a unit of one letter is taken for one, too
        found.append(Token(kind, said, glued))  # type: ignore[arg-type]
        end = match.end()
    return found
