"""The config that a choice of options stands for: merged once, handed out as copies on which values are set.

    task=svamp diversity='8'  seed=3   ──>   {"task": {...}, "diversity": {"degree": 8, ...}, "seed": 3, ...}
    '------ options -------'  'value'

Hydra reads its files anew for every config it composes, which takes about 100 ms. The jobs of a sweep share these
files, and many share the options too; values are set after the merge and cannot change it. So the files are read once,
each choice of options is merged once, and values are set on a copy of that: 2 ms a job, by the same functions of Hydra
in the same order.
"""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.default_element import GroupDefault, InputDefault
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf, open_dict

from ftcot.errors import InputError

_HYDRA_KEY = re.compile(r"hydra($|[./])")
_ASKS_HYDRA = re.compile(rb"\$\{\s*hydra\s*:")
"""An interpolation that Hydra's own node answers: `${hydra:job.name}`."""


class Choices:
    """The configs of one Hydra tree."""

    def __init__(self, loader: ConfigLoaderImpl, name: str) -> None:
        """The configs.

        Args:
            loader: of the tree.
            name: of the primary config in it.
        """
        self.name = name
        self.loader = loader
        _, self._files = loader._parse_overrides_and_create_caching_repo(name, [])
        self._is_group = cache(self._files.group_exists)
        self._merged: dict[tuple[str | None, ...], bytes] = {}

    def config(self, overrides: Sequence[Override]) -> DictConfig | None:
        """What the overrides describe, but for the `hydra` node; None where that node has a say in it.

        Raises:
            Exception: whatever Hydra raises, in its own words or as a bug.
        """
        if any(_HYDRA_KEY.match(word.key_or_group) or word.is_sweep_override() for word in overrides):
            return None
        options = [word for word in overrides if self._is_option(word)]
        choice = tuple(word.input_line for word in options)
        if choice not in self._merged:
            self._merged[choice] = pickle.dumps(self._merge(options))
        values = [word for word in overrides if not self._is_option(word)]
        texts = [self._merged[choice], *((word.input_line or "").encode() for word in values)]
        if any(_ASKS_HYDRA.search(text) for text in texts):
            return None
        config: DictConfig = pickle.loads(texts[0])  # our own bytes; six times as fast as a deep copy
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
        return config

    def read(self, file: str) -> tuple[Path, Any]:
        """Where a file of the tree is (`figure/diversity`), and what it says as plain values; None: there is none.

        Raises:
            InputError: it is no YAML.
        """
        try:
            found = self._files.load_config(file)
        except yaml.YAMLError as error:
            raise InputError(f"{file}.yaml: {' '.join(str(error).split())}") from None
        if found is None:
            return Path(f"{file}.yaml"), None
        folder = Path(found.path.removeprefix("file://"))
        return folder / f"{file}.yaml", OmegaConf.to_container(found.config)

    def _is_option(self, word: Override) -> bool:
        """As Hydra tells options from values."""
        return self._is_group(word.key_or_group) and not isinstance(word.value(), dict)

    def _merge(self, options: Sequence[Override]) -> DictConfig:
        # Hydra's own node is half of the work, and is none of a job's.
        files = _WithoutHydra(self._files)
        found = create_defaults_list(files, self.name, list(options), prepend_hydra=False, skip_missing=False)
        ours = [default for default in found.defaults if not _HYDRA_KEY.match(default.package or "")]
        config = self.loader._compose_config_from_defaults_list(ours, _Copies(self._files))
        OmegaConf.set_struct(config, True)
        with open_dict(config):
            config.pop("hydra", None)  # what config.yaml says of it
        return config


class _WithoutHydra(CachingConfigRepository):
    """The files of a repository, but for what they choose for Hydra (`override hydra/help: ftcot`)."""

    def __init__(self, files: CachingConfigRepository) -> None:
        self.delegate = files

    def load_config(self, config_path: str) -> ConfigResult | None:
        found = self.delegate.load_config(config_path)
        if found is None or found.defaults_list is None:
            return found
        return replace(found, defaults_list=[one for one in found.defaults_list if not _is_hydras(one)])


def _is_hydras(default: InputDefault) -> bool:
    return isinstance(default, GroupDefault) and _HYDRA_KEY.match((default.group or "").lstrip("/")) is not None


class _Copies(CachingConfigRepository):
    """The files of a repository, each time as a copy: Hydra merges into what it is given."""

    def __init__(self, files: CachingConfigRepository) -> None:
        self.delegate = files

    def load_config(self, config_path: str) -> ConfigResult | None:
        return copy.deepcopy(self.delegate.load_config(config_path))
