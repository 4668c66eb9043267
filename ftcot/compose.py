"""From a command line to a config: the one place that asks Hydra to compose, and that words its complaints.

    ["task=multiarith", "diversity=8"]   ──>   {"task": {"_target_": ...}, "diversity": {"degree": 8, ...}, ...}

Three things are ours. Bare integers are quoted where they name an option (Hydra 1.3 refuses `diversity=8`). Whatever
Hydra refuses becomes one line that says what was meant. And a config is frozen: resolved, with absolute folders, as
plain Python values.

Why not `hydra.main`: it makes the output folder before the job can be checked, composes the jobs of a sweep one by one
between runs, and ends every error with exit code 1. It still serves --help, --cfg, --info and completion (run.py).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from ftcot.errors import InputError

HYDRA_VERSION_BASE = "1.3"

_OVERRIDE = re.compile(r"(?P<sign>[~+]{0,2})(?P<key>[\w/.-]+)(?P<package>@[\w/.-]*)?=(?P<value>.*)", re.DOTALL)
_TOKEN = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^\s,()\[\]{}:='"]+""")
_NUMERIC = re.compile(r"\b(range|interval|sort)\s*\(")
"""Functions that need numbers; what a sweep makes of them is quoted after it is expanded."""


def conf_dir() -> Path:
    """The Hydra tree: inside the package in an installed wheel, at the top of the repository in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise InputError(
        f"no conf/config.yaml beside or inside {package}: the installation is damaged, install ftcot again"
    )


def quote_integers(override: str, options: Callable[[str], Collection[str]]) -> str:
    """`diversity=8` as `diversity='8'`, `diversity=choice(1,8)` as `diversity=choice('1','8')`.

    Args:
        options: names of a group's options; empty where there is no such group.
    """
    match = _OVERRIDE.fullmatch(override)
    if match is None or _NUMERIC.search(match["value"]) or not re.search(r"\d", match["value"]):
        return override
    if "." in match["key"] or not any(name.isdigit() for name in options(match["key"])):
        return override
    value = _TOKEN.sub(lambda token: f"'{token[0]}'" if token[0].isdigit() else token[0], match["value"])
    return override[: match.start("value")] + value


def bare_integers(text: str) -> str:
    """The text as a person would write it: `diversity=1,8` for `diversity='1','8'`."""
    return re.sub(r"'(\d+)'", r"\1", text)


class Composer:
    """Composes configs from one tree. One at a time may exist in a process: Hydra keeps its state in a global."""

    def __init__(self, folder: Path, name: str = "config", extra: Path | None = None) -> None:
        """A composer.

        Args:
            folder: the Hydra tree.
            name: of the primary config in it.
            extra: a user's own folder of options (`--config-dir`).
        """
        if extra is not None and not extra.is_dir():
            raise InputError(f"--config-dir {extra}: no such folder")
        version.setbase(HYDRA_VERSION_BASE)
        search_path = create_config_search_path(str(folder))
        if extra is not None:
            search_path.prepend(
                provider="command-line", path=f"file://{extra.absolute()}", anchor=SearchPathQuery(provider="schema")
            )
        self.name = name
        self._options: dict[str, list[str]] = {}
        GlobalHydra.instance().clear()
        self.hydra = Hydra.create_main_hydra2("ftcot", search_path)

    def options(self, group: str) -> list[str]:
        """Names of a group's options, those in sub-folders as `generated/coin_flip`."""
        if group not in self._options:
            self._options[group] = self._look_up(group)
        return self._options[group]

    def _look_up(self, group: str) -> list[str]:
        loader = self.hydra.config_loader
        names = list(loader.get_group_options(group, ObjectType.CONFIG))
        for folder in loader.get_group_options(group, ObjectType.GROUP):
            names += [f"{folder}/{name}" for name in self.options(f"{group}/{folder}")]
        return sorted(names, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))

    def groups(self) -> list[str]:
        """Names of the groups at the top of the tree."""
        return [group for group in self.hydra.config_loader.list_groups("") if group != "hydra"]

    def quote(self, overrides: Sequence[str]) -> list[str]:
        """The overrides, with integers quoted wherever they name an option."""
        return [quote_integers(override, self.options) for override in overrides]

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """The overrides as Hydra reads them.

        Raises:
            InputError: one is not written as Hydra expects.
        """
        parser = OverridesParser.create(config_loader=self.hydra.config_loader)
        try:
            return parser.parse_overrides(list(overrides))
        except HydraException as error:
            raise InputError(self.explain(error, overrides)) from error

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The config of one job, `hydra` node and all.

        Raises:
            InputError: Hydra refuses an override; the line says what was probably meant.
        """
        overrides = self.quote(overrides)
        for override in overrides:
            key = override.partition("=")[0]
            if key.startswith("+") and "." not in key and (name := key.lstrip("+").partition("@")[0]):
                self._refuse_new_key(name)
        try:
            config = self.hydra.compose_config(self.name, overrides, RunMode.RUN, from_shell=False)
        except Exception as error:  # Hydra lets AttributeError and the like escape on some overrides
            raise InputError(self.explain(error, overrides)) from error
        if not isinstance(config, DictConfig):
            raise InputError(f"{self.name}.yaml is not a mapping")
        return config

    def _refuse_new_key(self, name: str) -> None:
        # `+key=` would add it silently, and nothing would ever read it.
        keys = [str(key) for key in self.compose([])]
        if name not in keys and not self.options(name):
            raise InputError(f"{name}: no such key{_meant(name, keys)}")

    def explain(self, error: Exception, overrides: Sequence[str]) -> str:
        """One line for what Hydra took many for: what is wrong, and what was probably meant."""
        return bare_integers(self._explain(error, overrides))

    def _explain(self, error: Exception, overrides: Sequence[str]) -> str:
        if isinstance(error, OverrideParseException):
            return f"{error.override}: not a valid override ({_one_line(error)}); quote a value like 'key=\"a b\"'"
        text = str(error)
        if isinstance(error, MissingConfigException) and error.missing_cfg_file:
            group, _, option = str(error.missing_cfg_file).rpartition("/")
            while group and not (options := self.options(group)):  # a folder that does not exist either
                group, _, folder = group.rpartition("/")
                option = f"{folder}/{option}"
            if group:
                parent = group if group.startswith("hydra/") else group.partition("/")[0]
                option, options = (f"{group}/{option}"[len(parent) + 1 :], self.options(parent))
                return (
                    f"{parent}={option}: no such option{_meant(option, options) or ';'} Options: {', '.join(options)}"
                )
            return f"{error.missing_cfg_file}: no such config"
        if text.startswith("Ambiguous value for argument") or "requires --multirun" in text:
            return f"{_quoted(text)}: several values are a sweep: add -m, or write a list as key=[a,b]"
        if (match := re.search(r"Could not override '([^']+)'", text)) or (
            match := re.search(r"Could not delete(?: from config)?\.? '([^']+)'", text)
        ):
            return self._unknown_key(match[1], overrides)
        if match := re.search(r"Override (\S+) looks like a config group override, but config group '(\S+)'", text):
            return f"{match[1]}: no such group{_meant(match[2], self.groups())}"
        cause = f": {_one_line(error.__cause__)}" if isinstance(error.__cause__, OmegaConfBaseException) else ""
        return f"{_one_line(error)}{cause}".lstrip(": ")

    def _unknown_key(self, key: str, overrides: Sequence[str]) -> str:
        chosen = []
        for override in overrides:
            name, _, option = override.partition("=")
            if name != key and option.strip("'\"") in self.options(name.lstrip("+~")):
                chosen.append(override)
        known = list(_keys(self.compose(chosen)))
        parent, _, last = key.rpartition(".")
        siblings = [name for name in known if name.rpartition(".")[0] == parent]
        if close := difflib.get_close_matches(key, siblings, n=1, cutoff=0.75):
            return f"{key}: no such key; did you mean {close[0]}?"
        if named := [name for name in known if name.rpartition(".")[2] == last]:
            return f"{key}: no such key; did you mean {' or '.join(named[:3])}?"
        if close := difflib.get_close_matches(key, [*known, *self.groups()], n=1):
            return f"{key}: no such key; did you mean {close[0]}?"
        names = ", ".join(sorted(name.rpartition(".")[2] for name in siblings)) or ", ".join(self.groups())
        return f"{key}: no such key; {parent or 'at the top'} {'has' if parent else 'there are'} {names}"


def freeze(config: DictConfig) -> dict[str, Any]:
    """The config as plain values: resolved, without `hydra`, with absolute paths, so that it means the same anywhere.

    Raises:
        InputError: a value is missing, or refers to something that does not exist.
    """
    HydraConfig.instance().set_config(config)
    try:
        with read_write(config), open_dict(config):
            for name in config.get("paths", {}):
                config.paths[name] = str(Path(str(config.paths[name])).expanduser().absolute())
        frozen = OmegaConf.to_container(
            OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]),
            resolve=True,
            throw_on_missing=True,
        )
    except MissingMandatoryValue as error:
        key = str(error.full_key)
        raise InputError(f"{key}: has no default; say {key}=...") from None
    except OmegaConfBaseException as error:
        raise InputError(f"{error.full_key or 'config'}: {_one_line(error)}") from None
    finally:
        OmegaConf.set_readonly(config.hydra, False)  # HydraConfig set it; launchers fill it in
    return {str(key): _absolute(str(key), value) for key, value in dict(frozen).items()}  # type: ignore[arg-type]


def _absolute(key: str, value: Any) -> Any:
    """`value` with every path in it that exists made absolute; a hub id, or what is not there, is left as it is."""
    if isinstance(value, Mapping):
        return {str(name): _absolute(str(name), inner) for name, inner in value.items()}
    if isinstance(value, str) and key in ("path", "test_path", "folder", "checkpoint") and value:
        path = Path(value).expanduser()
        return str(path.absolute()) if path.exists() else value
    return value


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


def _meant(word: str, options: Sequence[str]) -> str:
    """`; did you mean X?`, or nothing."""
    if word.isdigit():  # 32 is no likelier than 2 where 3 was written
        return ""
    by_end = {option.rpartition("/")[2]: option for option in options}
    if close := difflib.get_close_matches(word, options, n=1):
        return f"; did you mean {close[0]}?"
    if close := difflib.get_close_matches(word.rpartition("/")[2], list(by_end), n=1):
        return f"; did you mean {by_end[close[0]]}?"
    return ""


def _one_line(error: BaseException) -> str:
    """The words of an error, on one line, without OmegaConf's foot notes."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line for line in lines if line and not line.startswith(("full_key:", "object_type=", "reference_type="))]
    return "; ".join(kept) or type(error).__name__


def _quoted(text: str) -> str:
    match = re.search(r"'([^']*=.*?)'(?=$|\s)", text.splitlines()[0])
    return match[1] if match else text.splitlines()[0]
