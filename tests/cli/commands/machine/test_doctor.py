"""`cuecard doctor`: the checks as a table, and a verdict for scripts."""

from __future__ import annotations

import pytest

from cuecard.cli.commands.machine import doctor_checks
from cuecard.cli.commands.machine.doctor_checks import Check
from support.command_line import Call

GOOD = Check("Memory", True, "8 GB free")
BAD = Check("Disk", False, "0.1 GB free at /tmp [full]", "free some space")


def found(monkeypatch: pytest.MonkeyPatch, *checks: Check) -> list[bool]:
    asked: list[bool] = []

    def look(*, online: bool = False) -> list[Check]:
        asked.append(online)
        return list(checks)

    monkeypatch.setattr(doctor_checks, "checks", look)
    return asked


def test_all_is_well(cuecard: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = found(monkeypatch, GOOD)
    done = cuecard("doctor")
    assert done.code == 0 and "8 GB free" in done.out and "ok" in done.out
    assert cuecard("doctor", "--online").code == 0
    assert asked == [False, True]


def test_something_is_broken(cuecard: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, GOOD, BAD)
    done = cuecard("doctor")
    assert done.code == 2
    assert "broken" in done.out and "free some space" in done.out and "[full]" in done.out


def test_json(cuecard: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, GOOD, BAD)
    done = cuecard("doctor", "--json")
    assert done.code == 2
    assert done.json == {"ok": False, "checks": [GOOD.to_dict(), BAD.to_dict()]}
