"""A tiny run on two processes that are forked from one; each leaves what became of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cuecard.errors import CuecardError
from cuecard.methods import PromptTuning
from cuecard.tasks import Task
from cuecard.training import TrainConfig
from cuecard.training.parallel.joining import Place, joined
from cuecard.training.parallel.ranks import ALONE, Ranks
from cuecard.training.setup import TrainSetup
from cuecard.training.train import train_prompt, train_share
from cuecard.training.trainables.trainable import TrainablePrompt
from support.data.head_tasks import head_task
from support.data.reviews import review_task, title_task
from support.tiny import tiny_backbone

METHOD = PromptTuning(length=4, init="random")
TASKS: dict[str, Callable[[int], Task]] = {
    "labels": review_task,
    "tokens": title_task,
    "head": head_task,
}

Observer = Callable[[dict[str, Any]], None]


def setup_of(asked: dict[str, Any], ranks: Ranks = ALONE, rows: int = 35) -> TrainSetup:
    """The set-up that {"task": name, "config": settings} asks for."""
    task, config = TASKS[asked["task"]](rows), TrainConfig.model_validate(asked["config"])
    return TrainSetup.of(tiny_backbone(), task, TrainablePrompt(METHOD), config).among(ranks)


def run_alone(asked: dict[str, Any], folder: Path | None = None) -> Any:
    """The same run on one process."""
    return train_prompt(setup_of(asked), METHOD, folder=folder)


def work() -> None:
    """Do what the file says that is named on the command line, as two processes."""
    place = Path(sys.argv[1])
    asked = json.loads((place / "asked.json").read_text())
    torch.set_num_threads(1)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
    other = os.fork()
    rank = 0 if other else 1
    _leave(place, rank, lambda: _train(asked, place, rank, other))
    if rank:
        os._exit(0)
    os.waitpid(other, 0)


def _leave(place: Path, rank: int, run: Callable[[], None]) -> None:
    """Note in a file of its own how a process ended."""
    said = "done"
    try:
        run()
    except CuecardError as error:
        said = f"{type(error).__name__}: {error}"
    (place / f"left-{rank}.json").write_text(json.dumps({"said": said}))


def _train(asked: dict[str, Any], place: Path, rank: int, other: int) -> None:
    spot = Place(rank, 2, rank, 2)
    with joined(spot, "cpu") as ranks:
        setup = setup_of(asked, ranks, asked.get("rows", [35, 35])[rank])
        if rank:
            train_share(setup)
        else:
            observer = _disturbing(asked, other)
            train_prompt(setup, METHOD, folder=place / asked["folder"], observer=observer)


def _disturbing(asked: dict[str, Any], other: int) -> Observer:
    """Presses Ctrl-C at the step that was asked for, or kills the other process there."""

    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == asked.get("stop"):
            signal.raise_signal(signal.SIGINT)
        if event["event"] == "step" and event["step"] == asked.get("kill"):
            os.kill(other, signal.SIGKILL)

    return watch
