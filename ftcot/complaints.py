"""What Hydra takes many lines to say, in one: what is wrong, and what was probably meant.

task.tain_size=8   ──>   task.tain_size: no such key; did you mean task.train_size?
diversity=3        ──>   diversity=3: no such option; Options: 1, 2, 4, 8, 16, 32, 64, greedy
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException


class Tree(Protocol):
    """What is asked of the Hydra tree."""

    def options(self, group: str) -> list[str]: ...
    def groups(self) -> list[str]: ...
    def compose(self, overrides: Sequence[str]) -> DictConfig: ...


def bare_integers(text: str) -> str:
    """The text as a person would write it: `diversity=1,8` for `diversity='1','8'`."""
    return re.sub(r"'(\d+)'", r"\1", text)


def explain(error: Exception, overrides: Sequence[str], tree: Tree) -> str:
    """What Hydra refused about the overrides, in one line."""
    return bare_integers(_explain(error, overrides, tree))


def _explain(error: Exception, overrides: Sequence[str], tree: Tree) -> str:
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not a valid override ({one_line(error)}); quote a value like 'key=\"a b\"'"
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return no_such_option(str(error.missing_cfg_file), tree)
    if text.startswith("Ambiguous value for argument") or "requires --multirun" in text:
        return f"{_quoted(text)}: several values are a sweep: add -m, or write a list as key=[a,b]"
    if (match := re.search(r"Could not override '([^']+)'", text)) or (
        match := re.search(r"Could not delete(?: from config)?\.? '([^']+)'", text)
    ):
        return _unknown_key(match[1], overrides, tree)
    if match := re.search(r"Override (\S+) looks like a config group override, but config group '(\S+)'", text):
        return f"{match[1]}: no such group{meant(match[2], tree.groups())}"
    cause = f": {one_line(error.__cause__)}" if isinstance(error.__cause__, OmegaConfBaseException) else ""
    return f"{one_line(error)}{cause}".lstrip(": ")


def no_such_option(file: str, tree: Tree) -> str:
    """Of an option file that is not there: `student/gpt2-meduim`."""
    group, _, option = file.rpartition("/")
    while group and not (options := tree.options(group)):  # a folder that does not exist either
        group, _, folder = group.rpartition("/")
        option = f"{folder}/{option}"
    if not group:
        return f"{file}: no such config"
    parent = group if group.startswith("hydra/") else group.partition("/")[0]
    option, options = f"{group}/{option}"[len(parent) + 1 :], tree.options(parent)
    return f"{parent}={option}: no such option{meant(option, options) or ';'} Options: {', '.join(options)}"


def _unknown_key(key: str, overrides: Sequence[str], tree: Tree) -> str:
    chosen = []
    for override in overrides:
        name, _, option = override.partition("=")
        if name != key and option.strip("'\"") in tree.options(name.lstrip("+~")):
            chosen.append(override)
    known = list(_keys(tree.compose(chosen)))
    parent, _, last = key.rpartition(".")
    siblings = [name for name in known if name.rpartition(".")[0] == parent]
    if close := difflib.get_close_matches(key, siblings, n=1, cutoff=0.75):
        return f"{key}: no such key; did you mean {close[0]}?"
    if named := [name for name in known if name.rpartition(".")[2] == last]:
        return f"{key}: no such key; did you mean {' or '.join(named[:3])}?"
    if close := difflib.get_close_matches(key, [*known, *tree.groups()], n=1):
        return f"{key}: no such key; did you mean {close[0]}?"
    names = ", ".join(sorted(name.rpartition(".")[2] for name in siblings)) or ", ".join(tree.groups())
    return f"{key}: no such key; {parent or 'at the top'} {'has' if parent else 'there are'} {names}"


def _keys(value: Any, path: str = "") -> Iterator[str]:
    """Dotted names of all keys a person would set."""
    for key in value:
        if key == "_target_" or (not path and key == "hydra"):
            continue
        here = f"{path}.{key}" if path else str(key)
        yield here
        node = value._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_interpolation():
            yield from _keys(node, here)


def many_jobs(word: str, overrides: Sequence[str], config_dir: Path | None = None) -> str:
    """Of a figure, or of what narrows one, where one job is expected."""
    words = [bare_integers(override) for override in overrides]
    figure = next((asked for asked in words if asked.lstrip("+").startswith("figure=")), None)
    if figure is None:
        words.insert(0, "figure=NAME")
    why = f"{bare_integers(word)} goes with a figure" if figure is None else f"{figure} is many jobs"
    words = [*(["--config-dir", str(config_dir)] if config_dir else []), *words]
    return f"{why}: python -m ftcot.run -m {shlex.join(words)} (with dry_run=true it shows them and runs none)"


def meant(word: str, options: Sequence[str]) -> str:
    """`; did you mean X?`, or nothing."""
    if word.isdigit():  # 32 is no likelier than 2 where 3 was written
        return ""
    by_end = {option.rpartition("/")[2]: option for option in options}
    if close := difflib.get_close_matches(word, options, n=1):
        return f"; did you mean {close[0]}?"
    if close := difflib.get_close_matches(word.rpartition("/")[2], list(by_end), n=1):
        return f"; did you mean {by_end[close[0]]}?"
    return ""


def one_line(error: BaseException) -> str:
    """The words of an error, on one line, without OmegaConf's foot notes."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line for line in lines if line and not line.startswith(("full_key:", "object_type=", "reference_type="))]
    return "; ".join(kept) or type(error).__name__


def _quoted(text: str) -> str:
    match = re.search(r"'([^']*=.*?)'(?=$|\s)", text.splitlines()[0])
    return match[1] if match else text.splitlines()[0]
