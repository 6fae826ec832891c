"""Processes that do something to a registry, and what befalls them. Run as a script, it forks them.

registry_processes.py kill PLACE PROMPT PROMPT    at the n-th change to the store, for every n
registry_processes.py at-once PLACE PROMPT ...    one pushes each prompt, all at the same moment
registry_processes.py promote PLACE VERSION ...   one promotes each version, all at the same moment
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cuecard.registry import PromptPackage, Registry

CHANGES = ("open", "write", "fsync", "link", "replace", "unlink", "mkdir")
Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


def change(registry: Registry, package: PromptPackage) -> None:
    """Everything that writes, once."""
    registry.push(package, "reviews")
    registry.promote("reviews@2", "production")
    registry.rollback("reviews", "production", why="back")
    registry.delete("reviews@2")


def wrap_changes(registry: Registry, wrap: Wrap) -> None:
    """Have every call that changes the registry's store go through a wrapper."""
    objects = getattr(registry.store, "_store", None)
    for name in CHANGES if objects is None else ("put", "delete"):
        owner = os if objects is None else objects
        setattr(owner, name, wrap(getattr(owner, name)))


def die_at(last: int) -> Wrap:
    """Let `last` changes begin; the last one is half a write, or nothing, and the end."""
    count = 0

    def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
        def dying(*words: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == last:
                if call.__name__ == "write":
                    call(words[0], bytes(words[1])[: len(words[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*words, **options)

        return dying

    return wrap


def kill(place: str, first: PromptPackage, second: PromptPackage) -> None:
    """Registries `PLACE/1`, `PLACE/2` ..., each left by a process that died one change later."""
    for last in range(1, 1000):

        def work(last: int = last) -> None:
            registry = Registry(f"{place}/{last}")
            registry.push(first, "reviews")
            registry.promote("reviews@1", "production")
            wrap_changes(registry, die_at(last))
            change(registry, second)

        if wait(fork(work)) == 0:
            return
    raise AssertionError("it never came to an end")


def at_once(works: list[Callable[[], object]]) -> None:
    """Fork a process for each, and let them go at the same moment."""
    held, released = os.pipe()

    def held_back(work: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            os.close(released)
            os.read(held, 1)  # until the parent closes its end
            work()

        return run

    children = [fork(held_back(work)) for work in works]
    os.close(released)
    codes = [wait(child) for child in children]
    assert codes == [0] * len(works), codes


def fork(work: Callable[[], None]) -> int:
    """A process that does this and ends."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - the parent's code must not run in a child
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def wait(child: int) -> int:
    """How it ended: its exit code; minus the signal."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), code
    return code


def main(action: str, place: str, *words: str) -> None:
    """Do what the command line says."""
    torch.set_num_threads(1)
    if action == "promote":
        at_once([lambda word=word: Registry(place).promote(word, "production") for word in words])
        return
    packages = [PromptPackage.read(Path(word)) for word in words]
    if action == "kill":
        kill(place, *packages)
    else:
        at_once([lambda each=each: Registry(place).push(each, "reviews") for each in packages])


if __name__ == "__main__":
    main(*sys.argv[1:])
