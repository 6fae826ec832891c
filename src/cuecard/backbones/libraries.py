"""transformers without what it would bring along: torchao, and code from the hub.

torchao is imported for quantised backbones alone. Wherever it is installed, transformers imports it
with its first model: two seconds, and complaints about kernels that torchao cannot load here.
transformers needs it only for models that are stored in torchao's own formats.
"""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any, TypeVar

Config = TypeVar("Config")

# The modules of transformers that import it.
_USERS = ("transformers.quantizers.quantizer_torchao", "transformers.integrations.torchao")
# Where these ask whether there is one.
_ASKED = ("transformers.utils", "transformers.utils.import_utils")


def torchao_quantization() -> Any:
    """The module `torchao.quantization`, without torchao's remarks on kernels."""
    return _quietly("torchao.quantization")


def import_transformers() -> Any:
    """The package transformers with its model classes, imported as if there were no torchao."""
    if _USERS[0] not in sys.modules:
        asked: list[Any] = [importlib.import_module(name) for name in _ASKED]
        before = [module.is_torchao_available for module in asked]
        for module in asked:
            module.is_torchao_available = _no
        try:
            for name in _USERS:
                importlib.import_module(name)
        finally:
            for module, function in zip(asked, before, strict=True):
                module.is_torchao_available = function
    return importlib.import_module("transformers")


def use_torchao() -> None:
    """Let transformers have torchao after all, to load a model in one of its formats."""
    torchao_quantization()
    for name in _USERS:
        importlib.reload(sys.modules[name])


def without_kernels(config: Config) -> Config:
    """A model's configuration, naming no kernels: those of the hub are code, which would be run."""
    own: Any = config
    own._attn_implementation = None
    own._experts_implementation = None
    return config


def _no(*_: object) -> bool:
    return False


def _quietly(name: str) -> Any:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return importlib.import_module(name)
    finally:
        logging.disable(before)
