"""The first Ctrl-C, also where it arrives inside a library that wraps errors."""

from __future__ import annotations

import os
import signal

import pytest

from cuecard.errors import Interrupted
from cuecard.interrupts import Stop, TimeLimit, heeding, may_cut, stoppable, unbroken


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


def test_what_may_not_be_broken_ends_before_it_is_cut_off() -> None:
    done = list[str]()

    def exchange() -> None:
        with unbroken():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("exchanged")
        done.append("never")

    with heeding(), pytest.raises(Stop), may_cut():
        exchange()
    with heeding() as interrupts, unbroken():  # where nothing may be cut off anyway
        os.kill(os.getpid(), signal.SIGINT)
    assert interrupts.asked and done == ["exchanged"]
    with unbroken():  # and where nobody heeds Ctrl-C
        done.append("alone")
    with heeding(), pytest.raises(KeyError), may_cut(), unbroken():
        raise KeyError


def test_work_ends_once_its_time_is_over_and_that_is_no_error() -> None:
    now = [0.0]
    limit, done = TimeLimit(10, lambda: now[0]), list[str]()
    with heeding() as outer:
        with limit.cutting():
            limit.check()
            with may_cut():
                done.append("in time")
            now[0] = 10.0
            limit.check()  # here is nothing that may be cut off
            done.append("a step")
            with may_cut():
                done.append("never")
        assert not outer.asked
        with limit.cutting(), may_cut():
            limit.check()
            done.append("never")
        assert not outer.asked and limit.over and limit.spent == 10
    assert done == ["in time", "a step"]
    limit.check()  # where nothing is cut off it asks for nothing


def test_ctrl_c_is_an_error_within_a_time_limit() -> None:
    limit = TimeLimit(1e9)
    with (
        pytest.raises(Interrupted),
        stoppable(lambda: Interrupted("stopped")),
        limit.cutting(),
        may_cut(),
    ):
        os.kill(os.getpid(), signal.SIGINT)
    now = [0.0]
    over = TimeLimit(1, lambda: now[0])
    with heeding(), pytest.raises(Stop), over.cutting(), may_cut():
        pressed_before(over, now)


def pressed_before(limit: TimeLimit, now: list[float]) -> None:
    """Ctrl-C, and then the end of the time."""
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        now[0] = 2.0
        limit.check()
