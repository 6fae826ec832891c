"""How a process learns its place among the others of a run."""

from __future__ import annotations

import sys

import pytest
import torch

from cuecard.errors import ConfigError, TrainingError
from cuecard.training.parallel import joining
from cuecard.training.parallel.joining import Place, deals_gpus, joined
from cuecard.training.parallel.local_processes import LocalProcesses, environment_of, launched
from cuecard.training.parallel.ranks import ALONE

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "node0",
}


def test_torchruns_environment_is_a_place() -> None:
    assert Place.of(TORCHRUN) == Place(5, 8, 1, 4)
    assert Place.of({}) is None and Place.of({"WORLD_SIZE": "1", "RANK": "0"}) is None
    assert Place.of(environment_of(2, 1, 4711)) == Place(1, 2, 1, 2)


@pytest.mark.parametrize(
    "change",
    [{"RANK": "8"}, {"RANK": "one"}, {"WORLD_SIZE": "-2"}, {"MASTER_ADDR": None}, {"RANK": None}],
)
def test_what_contradicts_itself_is_refused(change: dict[str, str | None]) -> None:
    changed = {name: value for name, value in {**TORCHRUN, **change}.items() if value is not None}
    with pytest.raises(ConfigError, match="names no place"):
        Place.of(changed)


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(5, 8, 1, 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert place.device("auto") == "auto" and not deals_gpus("auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert (place.device("auto"), place.device("cuda")) == ("cuda:1", "cuda:1")
    assert (place.device("cpu"), place.device("cuda:0")) == ("cpu", "cuda:0")
    assert deals_gpus("auto") and deals_gpus("cuda")
    assert not deals_gpus("cpu") and not deals_gpus("cuda:0")  # nor for the first process
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="4 processes on a machine with 2"):
        place.device("auto")


def test_alone_nothing_is_joined() -> None:
    with joined(None, "cpu") as ranks:
        assert ranks is ALONE


def test_others_that_do_not_come_are_not_waited_for_forever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joining, "JOIN_SECONDS", 0.2)
    monkeypatch.setattr(joining, "_POLL_SECONDS", 0.05)
    for name, value in environment_of(2, 0, 0).items():
        monkeypatch.setenv(name, value)  # port 0: one that is free
    with (
        pytest.raises(TrainingError, match="did not find each other"),
        joined(Place(0, 2, 0, 2), "cpu"),
    ):
        pass


def test_why_a_process_ended_is_shown() -> None:
    others = LocalProcesses()
    code = "import sys; print('no memory left', file=sys.stderr); sys.exit(3)"
    others.start([sys.executable, "-S", "-c", code], {})
    others._running[0][0].wait()
    with pytest.raises(TrainingError) as caught:
        others.check()
    assert (caught.value.where, caught.value.got) == (
        "process 1 of 2",
        "exit code 3: no memory left",
    )
    others.end()


def test_processes_end_with_the_block_that_started_them() -> None:
    sleeping = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
    with pytest.raises(KeyError), launched(2, sleeping) as others:
        raise KeyError
    assert others._running[0][0].returncode is not None


def test_what_is_started_already_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with launched(2, []) as others:
        assert not others._running
    with pytest.raises(ConfigError, match="WORLD_SIZE is 2"), launched(4, []):
        pass
