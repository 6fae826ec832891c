"""Ctrl-C in a long piece of work: acknowledged at once, and nothing is left half done.

The first Ctrl-C stops what may be cut off anywhere, such as a validation, at once, and waits for
the end of what may not, such as an optimiser step. The second one ends the process as usual.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from cuecard.errors import Interrupted

_LINE = b"\nstopping after the current batch; press Ctrl-C again to stop now\n"


class Stop(BaseException):
    """The first Ctrl-C, where work may be cut off; no `except Exception` may keep it."""


class Interrupts:
    """Whether Ctrl-C was pressed while the handler is in place.

    Attributes:
        asked: it was.
    """

    def __init__(self) -> None:
        self.asked = False
        self._may_cut = 0

    @contextmanager
    def may_cut(self) -> Iterator[None]:
        """Work that may be cut off anywhere.

        Raises:
            Stop: Ctrl-C was pressed, before or during it.
        """
        self._may_cut += 1
        try:
            if self.asked:
                raise Stop
            yield
        except Exception as error:
            # A library that was calling back wraps whatever is raised in an error of its own.
            if self.asked:
                raise Stop from error
            raise
        finally:
            self._may_cut -= 1

    @contextmanager
    def unbroken(self) -> Iterator[None]:
        """Work in `may_cut` that may not be cut off.

        Raises:
            Stop: after it, where Ctrl-C was pressed in what may be cut off.
        """
        depth, self._may_cut = self._may_cut, 0
        try:
            yield
        finally:
            self._may_cut = depth
        if depth and self.asked:
            raise Stop

    def handle(self, number: int, frame: object) -> None:
        """Take a SIGINT.

        Raises:
            KeyboardInterrupt: it is the second one.
            Stop: work may be cut off here.
        """
        if self.asked:
            raise KeyboardInterrupt
        # Not through a buffered stream, which may be in the middle of a line of its own.
        with suppress(OSError):
            os.write(2, _LINE)
        self.ask()

    def ask(self) -> None:
        """Ask for an end.

        Raises:
            Stop: work may be cut off here.
        """
        self.asked = True
        if self._may_cut:
            raise Stop


_now: list[Interrupts] = []


@contextmanager
def heeding() -> Iterator[Interrupts]:
    """Turn Ctrl-C into a request to stop; inside another one of these, the outer one counts.

    Outside the main thread, where signals do not arrive, Ctrl-C stays what it is.
    """
    if _now and threading.current_thread() is threading.main_thread():
        yield _now[-1]
        return
    found = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    before = signal.signal(signal.SIGINT, found.handle)
    _now.append(found)
    try:
        yield found
    finally:
        _now.pop()
        signal.signal(signal.SIGINT, before)


@contextmanager
def may_cut() -> Iterator[None]:
    """`Interrupts.may_cut` of those in place; without any, Ctrl-C stays what it is.

    Raises:
        Stop: Ctrl-C was pressed, before or during the work.
    """
    if not _now or threading.current_thread() is not threading.main_thread():
        yield
        return
    with _now[-1].may_cut():
        yield


@contextmanager
def unbroken() -> Iterator[None]:
    """Work in what may be cut off that may not, such as an exchange with another process.

    Raises:
        Stop: after it, where Ctrl-C was pressed in what may be cut off.
    """
    if not _now or threading.current_thread() is not threading.main_thread():
        yield
        return
    with _now[-1].unbroken():
        yield


@contextmanager
def stoppable(ending: Callable[[], BaseException]) -> Iterator[Interrupts]:
    """`heeding`, and work that was cut off ends with an error that says what was kept.

    Args:
        ending: makes that error.

    Raises:
        BaseException: what `ending` made, after the first Ctrl-C.
    """
    with heeding() as interrupts:
        try:
            yield interrupts
        except Stop:
            raise ending() from None


class TimeLimit:
    """Ends work where the first Ctrl-C would, once its seconds are over, and that is no error.

    What is not in the main thread is not cut off.

    Args:
        seconds: from now; infinity for no limit, which changes nothing.
        clock: seconds from anywhere.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock, self._began = seconds, clock, clock()
        self._cutting: Interrupts | None = None
        self._has_cut = False

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return self._clock() - self._began

    @property
    def over(self) -> bool:
        """Whether its seconds are over."""
        return self.spent >= self._seconds

    def check(self) -> None:
        """Ask the work in `cutting` for an end if the time is over; called often.

        Raises:
            Stop: work may be cut off here.
        """
        interrupts = self._cutting
        if interrupts is not None and not interrupts.asked and self.over:
            self._has_cut = True
            interrupts.ask()

    @contextmanager
    def cutting(self) -> Iterator[None]:
        """Work that ends early once the time is over; the block is then left without an error.

        Raises:
            Stop, Interrupted: Ctrl-C.
        """
        if self._seconds == math.inf:
            yield
            return
        with heeding() as interrupts:
            self._cutting, self._has_cut = interrupts, False
            try:
                yield
            except (Stop, Interrupted):
                if not self._has_cut:
                    raise
            finally:
                self._cutting = None
                if self._has_cut:
                    interrupts.asked = False
