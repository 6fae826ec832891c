"""Errors say what, where, got and expected; another place or hint leaves the rest as it was."""

from __future__ import annotations

from cuecard.errors import LLMError


def test_an_error_with_another_hint() -> None:
    first = LLMError("silent", where="m", got="503", expected="an answer", unreachable=True)
    found = first.replaced(hint="wait")
    assert type(found) is LLMError and found.unreachable and not found.fatal
    assert str(found) == f"{first}\n  hint: wait"
    assert found.args == (str(found),) and first.hint is None
