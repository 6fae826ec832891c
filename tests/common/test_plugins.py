"""Objects that installed packages offer by entry points."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cuecard.errors import ConfigError, CuecardWarning
from cuecard.plugins import PluginMapping
from support.plugin_packages import install_package

GROUP = "cuecard.numbers"
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package whose module is called as it is and imported here alone."""

    def install(name: str, source: str = "", **offered: str) -> None:
        install_package(tmp_path / name, name, {GROUP: offered}, {f"{name}_module.py": source})
        monkeypatch.syspath_prepend(tmp_path / name)
        monkeypatch.delitem(sys.modules, f"{name}_module", raising=False)

    return install


def numbers() -> PluginMapping[int]:
    def read(name: str, found: Any) -> int:
        if not isinstance(found, int):
            raise TypeError("a number is an int")
        return found

    return PluginMapping(GROUP, "number", {"one": 1}, read)


def test_names_are_known_without_an_import(install: Install) -> None:
    install("two", "TWO = 2", two="two_module:TWO")
    found = numbers()
    assert [*found] == ["one", "two"] and len(found) == 2 and "two" in found
    assert "two_module" not in sys.modules
    assert found["two"] == 2 and "two_module" in sys.modules
    assert dict(found.items()) == {"one": 1, "two": 2}
    assert "three" not in found and found.get("three") is None
    with pytest.raises(KeyError):
        found["three"]


def test_a_broken_one_is_named_and_the_rest_works(install: Install) -> None:
    install("bad", "raise RuntimeError('no such device')", bad="bad_module:BAD")
    install("odd", "ODD = 'three'", odd="odd_module:ODD")
    install("two", "TWO = 2", two="two_module:TWO")
    found = numbers()
    with pytest.warns(CuecardWarning) as told:
        assert dict(found.items()) == {"one": 1, "two": 2}
    assert sorted(str(one.message) for one in told) == [
        "left out: bad 1.0: bad = bad_module:BAD: RuntimeError: no such device",
        "left out: odd 1.0: odd = odd_module:ODD: TypeError: a number is an int",
    ]
    assert [*found.values()] == [1, 2]  # told once
    with pytest.raises(ConfigError, match="cannot be loaded") as refused:
        found["bad"]
    assert str(refused.value.where).startswith("bad 1.0: ")
    with pytest.raises(ConfigError, match="a number is an int"):
        found.get("odd")


def test_a_name_that_is_taken_is_refused(install: Install) -> None:
    install("first", "N = 5", one="first_module:N", five="first_module:N")
    install("second", "N = 6", five="second_module:N", six="second_module:N")
    found = numbers()
    with pytest.warns(CuecardWarning) as told:
        assert [*found] == ["one", "six"]
    assert {str(one.message) for one in told} == {
        "left out: the number 'one' of first 1.0: cuecard has one of that name",
        "left out: the number 'five' of first 1.0, second 1.0: only one package may offer it",
    }
    assert found["one"] == 1 and "five" not in found


def test_one_that_is_added_goes_before_an_offer(install: Install) -> None:
    install("two", "TWO = 2", two="two_module:TWO")
    found = numbers()
    found.add("two", 22)
    found.add("two", found["two"])
    assert found["two"] == 22 and [*found] == ["one", "two"] and len(found) == 2
    with pytest.raises(ConfigError, match="another number has that name"):
        found.add("two", 2)
