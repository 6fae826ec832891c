"""The first Ctrl-C, also where it arrives inside a library that wraps errors."""

from __future__ import annotations

import os
import signal

import pytest

from cuecard.interrupts import Stop, heeding, may_cut


def wrapped() -> None:
    """As a serializer written in another language does with what its callbacks raise."""
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException as error:
        raise ValueError("cannot serialize") from error


def test_a_library_that_wraps_it_does_not_hide_it() -> None:
    with heeding() as interrupts, pytest.raises(Stop), may_cut():
        wrapped()
    assert interrupts.asked


def test_other_errors_stay_what_they_are() -> None:
    with heeding(), pytest.raises(ValueError, match="of its own"), may_cut():
        raise ValueError("of its own")
