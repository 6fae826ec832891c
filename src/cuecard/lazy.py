"""Libraries that are imported when they are first used.

torch and transformers take seconds to import and scikit-learn, scipy, matplotlib and pyarrow take
tenths of seconds: a mistake in a command line or in a data file is reported without them. A module
that names such a library in its functions alone takes it from here, or by `lazy_module`; names that
only annotations need are imported under `TYPE_CHECKING`. Where a class derives from one of theirs,
as every `torch.nn.Module` does, the class has a file of its own, and who builds it imports it in a
function: `tests/architecture/test_layers.py` lists those places.

Some of them come with an extra alone (`EXTRAS`): loading, predicting and serving do without them,
and what needs one that is not installed says which extra has it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from cuecard.errors import ConfigError

P = ParamSpec("P")
T = TypeVar("T")

EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "datasets": "train",
        "matplotlib": "train",
        "onnx": "onnx",
        "pyarrow": "train",
        "scipy": "train",
        "sklearn": "train",
        "threadpoolctl": "train",  # scikit-learn brings it along
    }
)
"""Library that is imported as it is used -> the extra of cuecard that brings it along."""


class LazyModule(ModuleType):
    """Stands for a module until one of its attributes is asked for; then it is imported."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(import_library(self.__name__), name)
        self.__dict__[name] = value
        return value

    def __dir__(self) -> list[str]:
        return dir(import_library(self.__name__))


def lazy_module(name: str) -> Any:
    """A module by its full name, imported when one of its attributes is first asked for."""
    return LazyModule(name)


def import_library(name: str, extra: str | None = None) -> ModuleType:
    """A library's module by its full name.

    Args:
        extra: the extra that brings it along, and what it needs; None for one of `EXTRAS` or one
            that is always there.

    Raises:
        ConfigError: it comes with an extra that is not installed, or not all of it.
        ImportError: any other that is missing.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        library = name.partition(".")[0]
        owner = extra or EXTRAS.get(library)
        missing = error.name or library
        if owner is None or (extra is None and missing != library):
            raise
        raise _not_installed(f"this needs {library}", owner, [missing]) from error


def require_extra(extra: str, what: str) -> None:
    """Refuse, before any work, what could not be finished without an extra's libraries.

    Args:
        what: what needs them.

    Raises:
        ConfigError: some are not installed.
    """
    missing = [name for name, owner in EXTRAS.items() if owner == extra and not find_spec(name)]
    if missing:
        raise _not_installed(f"{what} needs libraries that are not installed", extra, missing)


def _not_installed(what: str, extra: str, missing: Sequence[str]) -> ConfigError:
    return ConfigError(
        what,
        got=f"not installed: {', '.join(missing)}",
        expected=f"pip install 'cuecard[{extra}]'",
    )


def lazy_exports(
    package: str, homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose names are imported on first use (PEP 562).

    A name must not be that of a module in the package: importing the module would hide it.

    Args:
        package: the package's `__name__`.
        homes: module, full or beginning with a dot -> the names that it defines.
    """
    home = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home})

    return get, names


def inference_mode(function: Callable[P, T]) -> Callable[P, T]:
    """`torch.inference_mode()` as a decorator that leaves torch alone until the first call."""

    @wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> T:
        with torch.inference_mode():
            return function(*args, **options)

    return call


def no_grad(function: Callable[P, T]) -> Callable[P, T]:
    """`torch.no_grad()` as such a decorator."""

    @wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> T:
        with torch.no_grad():
            return function(*args, **options)

    return call


if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional
else:
    np = lazy_module("numpy")
    torch = lazy_module("torch")
    nn = lazy_module("torch.nn")
    functional = lazy_module("torch.nn.functional")

__all__ = [
    "EXTRAS",
    "LazyModule",
    "functional",
    "import_library",
    "inference_mode",
    "lazy_exports",
    "lazy_module",
    "nn",
    "no_grad",
    "np",
    "require_extra",
    "torch",
]
