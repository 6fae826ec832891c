"""Libraries that come with an extra alone."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from cuecard import lazy
from cuecard.errors import ConfigError
from cuecard.lazy import EXTRAS, import_library, lazy_module, require_extra
from support.installs import installed_with


def test_each_comes_with_its_extra_and_not_without() -> None:
    owners = importlib.metadata.packages_distributions()
    core = installed_with()
    for library, extra in EXTRAS.items():
        (owner,) = {name.lower() for name in owners[library]}
        assert owner not in core, library
        assert owner in installed_with(extra), library


def test_one_that_is_missing_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "EXTRAS", {"no_such_library": "train", "json": "train"})
    with pytest.raises(ConfigError, match="not installed: no_such_library") as refused:
        lazy_module("no_such_library.inner").something  # noqa: B018
    assert refused.value.expected == "pip install 'cuecard[train]'"
    with pytest.raises(ConfigError, match="a search needs") as refused:
        require_extra("train", "a search")
    assert refused.value.got == "not installed: no_such_library"
    require_extra("onnx", "nothing")


def test_what_a_library_lacks_names_the_extra_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_a_library.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="not installed: no_such_library") as refused:
        import_library("half_a_library", "serve")
    assert refused.value.expected == "pip install 'cuecard[serve]'"
    with pytest.raises(ModuleNotFoundError):
        import_library("half_a_library")


def test_what_is_missing_otherwise_stays_an_import_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "EXTRAS", {"json": "train"})
    with pytest.raises(ModuleNotFoundError):
        import_library("no_such_library")
    with pytest.raises(ModuleNotFoundError):
        import_library("json.no_such_module")  # a broken or an older one, which is installed
