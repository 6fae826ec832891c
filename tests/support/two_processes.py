"""A tiny run on two processes that are forked from one; each leaves what became of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed.fsdp  # takes a second: before anything is forked

from cuecard.backbones import load_frozen
from cuecard.errors import CuecardError, FileError
from cuecard.methods import PromptTuning
from cuecard.tasks import Task
from cuecard.training import TrainConfig
from cuecard.training.parallel.joining import Place, joined
from cuecard.training.parallel.ranks import ALONE, Ranks
from cuecard.training.parallel.sharding import ShardedLayers
from cuecard.training.setup import TrainSetup
from cuecard.training.train import train_prompt, train_share
from cuecard.training.trainables.trainable import TrainablePrompt
from support.command_line import save_tiny
from support.data.head_tasks import head_task
from support.data.reviews import review_task, title_task
from support.tiny import tiny_backbone
from support.two_shards import compared

METHOD = PromptTuning(length=4, init="random")
TASKS: dict[str, Callable[[int], Task]] = {
    "labels": review_task,
    "tokens": title_task,
    "head": head_task,
}

Observer = Callable[[dict[str, Any]], None]


def setup_of(
    asked: dict[str, Any], ranks: Ranks = ALONE, rows: int = 35, backbone: Any = None
) -> TrainSetup:
    """The set-up that {"task": name, "config": settings} asks for."""
    task, config = TASKS[asked["task"]](rows), TrainConfig.model_validate(asked["config"])
    backbone = backbone or tiny_backbone()
    return TrainSetup.of(backbone, task, TrainablePrompt(METHOD), config).among(ranks)


def run_alone(asked: dict[str, Any], folder: Path | None = None) -> Any:
    """The same run on one process."""
    return train_prompt(setup_of(asked), METHOD, folder=folder)


def work() -> None:
    """Do what the file says that is in the folder named on the command line, as two processes."""
    place = Path(sys.argv[1])
    asked = json.loads((place / "asked.json").read_text())
    if "kind" in asked:
        as_two(place, lambda rank, other: compared(asked["kind"], rank))
        return
    if asked.get("shards") and not (place / "model").exists():
        save_tiny(place / "model")
    as_two(place, lambda rank, other: _train(asked, place, rank, other))


def as_two(place: Path, run: Callable[[int, int], Any]) -> None:
    """Run something in two processes; each leaves in the folder how it ended.

    Args:
        run: rank, the other process's id (0 in that one) -> what to leave too, for JSON.
    """
    torch.set_num_threads(1)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
    second = _forked(place, 1, lambda: run(1, 0))
    first = _forked(place, 0, lambda: run(0, second))
    for child in (first, second):
        os.waitpid(child, 0)


def _forked(place: Path, rank: int, run: Callable[[], Any]) -> int:
    """The id of a process that runs something."""
    child = os.fork()
    if child:
        return child
    said, found = "done", None
    try:
        found = run()
    except CuecardError as error:
        said = f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001 - it must not run on as its parent
        traceback.print_exc()
        os._exit(1)
    (place / f"left-{rank}.json").write_text(json.dumps({"said": said, "found": found}))
    os._exit(0)


def _train(asked: dict[str, Any], place: Path, rank: int, other: int) -> None:
    spot = Place(rank, 2, rank, 2)
    with joined(spot, "cpu", shards=bool(asked.get("shards"))) as ranks:
        backbone = _sharded(place / "model", ranks) if ranks.shards else None
        setup = setup_of(asked, ranks, asked.get("rows", [35, 35])[rank], backbone)
        if rank:
            train_share(setup)
        else:
            observer = _disturbing(asked, other, setup.backbone)
            train_prompt(setup, METHOD, folder=place / asked["folder"], observer=observer)


def _sharded(model: Path, ranks: Ranks) -> Any:
    return load_frozen(model, dtype="fp32", device="cpu", place=ShardedLayers(ranks).place)


def _press_in_next_pass(backbone: Any) -> None:
    """Press Ctrl-C in the middle of the next forward pass, in the second layer."""

    def press(*_: Any) -> None:
        hook.remove()
        signal.raise_signal(signal.SIGINT)

    hook = backbone.model.model.layers[1].mlp.register_forward_pre_hook(press)


def _disturbing(asked: dict[str, Any], other: int, backbone: Any) -> Observer:
    """Does what was asked for at a step: "stop", "cut", "kill" the other process, "die", "fail"."""

    def watch(event: dict[str, Any]) -> None:
        if event["event"] != "step":
            return
        for what, do in disturbances.items():
            if event["step"] == asked.get(what):
                do()

    def fail() -> None:
        raise FileError("the log cannot be written", where="disk")

    disturbances: dict[str, Callable[[], Any]] = {
        "stop": lambda: signal.raise_signal(signal.SIGINT),
        "cut": lambda: _press_in_next_pass(backbone),
        "kill": lambda: os.kill(other, signal.SIGKILL),
        "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "fail": fail,
    }
    return watch
