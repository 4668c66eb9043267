"""From a command line to a config: the one place that asks Hydra to compose.

    ["task=multiarith", "diversity=8"]   ──>   {"task": {"_target_": ...}, "diversity": {"degree": 8, ...}, ...}

Three things are ours. Bare integers are quoted where they name an option (Hydra 1.3 refuses `diversity=8`). Whatever
Hydra refuses becomes one line that says what was meant (complaints.py). And a config is frozen: resolved, with absolute
folders, as plain Python values.

Why not `hydra.main`: it makes the output folder before the job can be checked, composes the jobs of a sweep one by one
between runs, and ends every error with exit code 1. It still serves --help, --cfg, --info and completion (run.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from ftcot.choices import Choices
from ftcot.complaints import explain, many_jobs, meant, one_line
from ftcot.errors import InputError

HYDRA_VERSION_BASE = "1.3"

PATHS = ("path", "test_path", "folder", "checkpoint", "tokenizer", "demonstrations")
"""Keys whose values are paths, or may be."""

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
        self.name, self.extra = name, extra
        self._options: dict[str, list[str]] = {}
        self._words: dict[str, Override] = {}
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
        self._refuse(overrides)
        try:
            config = self.hydra.compose_config(self.name, overrides, RunMode.RUN, from_shell=False)
        except Exception as error:  # Hydra lets AttributeError and the like escape on some overrides
            raise InputError(self.explain(error, overrides)) from error
        if not isinstance(config, DictConfig):
            raise InputError(f"{self.name}.yaml is not a mapping")
        return config

    def job(self, overrides: Sequence[str]) -> dict[str, Any]:
        """`freeze(compose(overrides))`, much faster where many are composed: what they share is composed once.

        Raises:
            InputError: as these two.
        """
        overrides = self.quote(overrides)
        self._refuse(overrides)
        try:
            config = self._choices.config([self._parsed(word) for word in overrides])
        except Exception:  # of whatever kind: Hydra's own way says what is wrong
            config = None
        return freeze(self.compose(overrides)) if config is None else plain(config)

    def read(self, file: str) -> tuple[Path, Any]:
        """Where a file of the tree is (`figure/diversity`), and what it says; None: there is none.

        Raises:
            InputError: it is no YAML.
        """
        return self._choices.read(file)

    @cached_property
    def _choices(self) -> Choices:
        assert isinstance(self.hydra.config_loader, ConfigLoaderImpl)
        return Choices(self.hydra.config_loader, self.name)

    def _parsed(self, word: str) -> Override:
        if word not in self._words:
            [self._words[word]] = self.parse([word])
        return self._words[word]

    def _refuse(self, overrides: Sequence[str]) -> None:
        """Refuse what Hydra would take and nothing would read."""
        for override in overrides:
            key = override.partition("=")[0]
            name = key.lstrip("+").partition("@")[0]
            if name.partition(".")[0] == "figure":
                raise InputError(many_jobs(override, overrides, self.extra))
            if key.startswith("+") and name and "." not in key and name not in self._keys and not self.options(name):
                raise InputError(f"{name}: no such key{meant(name, self._keys)}")

    @cached_property
    def _keys(self) -> list[str]:
        """At the top of a config."""
        return [str(key) for key in self.compose([])]

    def explain(self, error: Exception, overrides: Sequence[str]) -> str:
        """One line for what Hydra took many for: what is wrong, and what was probably meant."""
        return explain(error, overrides, self)


def freeze(config: DictConfig) -> dict[str, Any]:
    """The config as plain values: resolved, without `hydra`, with absolute paths, so that it means the same anywhere.

    Raises:
        InputError: a value is missing, or refers to something that does not exist.
    """
    HydraConfig.instance().set_config(config)
    try:
        return plain(config)
    finally:
        OmegaConf.set_readonly(config.hydra, False)  # HydraConfig set it; launchers fill it in


def plain(config: DictConfig) -> dict[str, Any]:
    """See `freeze`; for a config that asks nothing of Hydra's own node (`${hydra:job.name}`).

    Raises:
        InputError: a value is missing, or refers to something that does not exist.
    """
    try:
        with read_write(config), open_dict(config):
            for name in config.get("paths", {}):
                config.paths[name] = str(Path(str(config.paths[name])).expanduser().absolute())
        if "hydra" in config:
            config = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        frozen = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = str(error.full_key)
        raise InputError(f"{key}: has no default; say {key}=...") from None
    except OmegaConfBaseException as error:
        raise InputError(f"{error.full_key or 'config'}: {one_line(error)}") from None
    return {str(key): _absolute(str(key), value) for key, value in dict(frozen).items()}  # type: ignore[arg-type]


def _absolute(key: str, value: Any) -> Any:
    """`value` with every path in it that exists made absolute; a hub id, or what is not there, is left as it is."""
    if isinstance(value, Mapping):
        # What a server calls its model is no path, even if there is a folder of that name.
        checkpoints = str(value.get("_target_")).startswith(("ftcot.teacher.huggingface.", "ftcot.teacher.vllm."))
        renamed = {"model": "checkpoint"} if checkpoints else {}
        return {str(name): _absolute(renamed.get(str(name), str(name)), inner) for name, inner in value.items()}
    if isinstance(value, str) and key in PATHS and value:
        path = Path(value).expanduser()
        return str(path.absolute()) if path.exists() else value
    return value
