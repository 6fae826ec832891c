"""Ctrl-C in a long piece of work: acknowledged at once, and nothing is left half done.

The first Ctrl-C stops what may be cut off anywhere, such as a validation, at once, and waits for
the end of what may not, such as an optimiser step. The second one ends the process as usual.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

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

    def handle(self, number: int, frame: object) -> None:
        """Take a SIGINT.

        Raises:
            KeyboardInterrupt: it is the second one.
            Stop: work may be cut off here.
        """
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        # Not through a buffered stream, which may be in the middle of a line of its own.
        with suppress(OSError):
            os.write(2, _LINE)
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
