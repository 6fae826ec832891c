"""Progress of a call from Python: a bar in a terminal or a notebook, nothing elsewhere."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# What goes on after an event of this name.
_NEXT = {"lr": "trying learning rates", "race": "racing", "test": "testing", "done": "finishing"}


def with_progress_bar(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function with an `observer` show a progress bar where the caller gives none.

    With `progress=False` it stays silent.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        silent = kwargs.get("progress") is False or kwargs.get("observer") is not None
        if silent or not is_interactive():
            return function(*args, **kwargs)
        with ProgressBar() as bar:
            kwargs["observer"] = bar
            return function(*args, **kwargs)

    return call


def is_interactive() -> bool:
    """Whether this process writes to a terminal or a notebook's cell."""
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    if "IPKernelApp" in getattr(get_shell(), "config", {}):
        return True
    return sys.stderr is not None and sys.stderr.isatty()


class ProgressBar:
    """Shows the events of a run: `with ProgressBar() as bar: train(..., observer=bar)`."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # In a notebook without ipywidgets it says so, and falls back to a bar of text.
            warnings.simplefilter("ignore")
            self._make = import_module("tqdm.auto").tqdm
        self._bar: Any = None
        self._what = ""
        self._steps: int | None = None
        self._loss = self._score = ""

    def __enter__(self) -> Self:
        self._show("preparing", None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Show one event of a run's log."""
        name = event["event"]
        if name == "progress":
            self._show(str(event["what"]), event["total"], event["done"])
        elif name == "sweep":
            self._show("trials", event["trials"], event["done"])
        elif name == "trial_done" and self._bar is not None:
            self._show("trials", self._bar.total, self._bar.n + 1)
        elif "trial" in event:
            return
        elif name in ("start", "resume"):
            self._steps = event["steps"]
            self._show("training", self._steps, event.get("step", 0))
        elif name == "step":
            self._loss = f"{event['loss']:.4f}"
            self._show("training", self._steps, event["step"])
        elif name == "validation":
            accuracy = event["validation_accuracy"]
            self._score = f"{event['validation_loss'] if accuracy is None else accuracy:.3f}"
        elif name in ("candidate", "baseline"):
            self._show(f"comparing with {event['name']}", None)
        elif name in _NEXT:
            self._show(_NEXT[name], None)

    def _show(self, what: str, total: int | None, done: int = 0) -> None:
        if self._bar is None or what != self._what:
            self._close()
            # Standard error, as other libraries' bars; what was done stays, what passes does not.
            self._bar = self._make(total=total, desc=what, leave=what in ("training", "trials"))
            self._what = what
        self._bar.total = total
        if what == "training":
            shown = {"loss": self._loss, "validation": self._score}
            self._bar.set_postfix({k: v for k, v in shown.items() if v}, refresh=False)
        self._bar.update(done - self._bar.n)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
