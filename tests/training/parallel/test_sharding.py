"""A backbone that is sharded among two processes (FSDP, Gloo) answers and trains as a whole one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.backbones import load_frozen
from cuecard.errors import BackboneError, ConfigError
from cuecard.training import read_log
from cuecard.training.parallel.ranks import Ranks
from cuecard.training.parallel.sharding import ShardedLayers
from support.command_line import save_tiny
from support.peft_adapters import save_adapter
from support.tiny import tiny_model
from support.tiny_sam import save_sam
from support.tiny_vision import save_vision
from support.two_processes import run_alone

# As in test_two_processes: in the last batch of an epoch one process has no row.
CONFIG = {"steps": 8, "batch_rows": 5, "eval_every": 4, "checkpoint_every": 3}
NEARLY = {"atol": 2e-6, "rtol": 2e-4}

Left = Callable[..., list[dict[str, Any]]]
Pair = Callable[..., tuple[str, str]]


def asking(task: str = "tokens", **more: Any) -> dict[str, Any]:
    return {"task": task, "config": {**CONFIG, **more}}


def events_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return [event for event in read_log(folder) if event["event"] == name]


# Packed with modules of ours and without, layers that give a view, rows that are padded.
@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt", "bloom-alibi"])
def test_passes_are_those_of_a_whole_model(left: Left, kind: str, tmp_path: Path) -> None:
    every = left(tmp_path, kind=kind)
    for rank, one in enumerate(every):
        assert one["said"] == "done"
        found = one["found"]
        # Bit for bit, though one has more passes than the other, and other rows.
        assert found["passes"] == [True] * 3 * (1 + 2 * rank)
        assert found["fused"][0] == found["fused"][1]
        whole, held = found["bytes"]
        assert held == whole / 2
        assert found["digest"]
    alone = every[0]["found"]  # while the other one waited
    assert alone["generated"] and alone["states"] and alone["again"]


@pytest.mark.parametrize(
    "asked",
    [asking("tokens", activations="recompute"), asking("labels", accumulation=2), asking("head")],
    ids=["tokens, recomputed", "labels, accumulated", "head"],
)
def test_sharded_is_as_one(pair: Pair, asked: dict[str, Any], tmp_path: Path) -> None:
    assert pair(tmp_path / "two", **asked, shards=True) == ("done", "done")
    one = run_alone(asked, tmp_path / "one")
    two = run_alone(asked, tmp_path / "two")  # reads what the two have left
    torch.testing.assert_close(two.prompt.vectors, one.prompt.vectors, **NEARLY)
    assert (two.best_step, two.test.score) == (one.best_step, one.test.score)
    assert two.test.ci95 == one.test.ci95
    for name, key in (("step", "loss"), ("validation", "validation_loss")):
        ours, theirs = events_of(tmp_path / "two", name), events_of(tmp_path / "one", name)
        assert [event[key] for event in ours] == pytest.approx(
            [event[key] for event in theirs], rel=1e-5
        )
    (start,) = events_of(tmp_path / "two", "start")
    assert start["processes"] == 2 and start["sharded"]


@pytest.mark.parametrize("first", ["sharded", "one"])
def test_sharded_and_whole_resume_each_other(pair: Pair, first: str, tmp_path: Path) -> None:
    asked, cut = asking(), tmp_path / "cut"
    if first == "sharded":
        for said in pair(cut, **asked, shards=True, stop=5):
            assert said.startswith("Interrupted: stopped after step 5 of 8")
    else:
        assert pair(cut, **asked, stop=5)[0].startswith("Interrupted: stopped after step 5")
        assert pair(cut, **asked, shards=True) == ("done", "done")
    resumed, whole = run_alone(asked, cut), run_alone(asked)
    assert [step["step"] for step in events_of(cut, "step")] == [*range(1, 9)]
    torch.testing.assert_close(resumed.prompt.vectors, whole.prompt.vectors, **NEARLY)


def test_ctrl_c_in_a_validation_leaves_a_checkpoint(pair: Pair, tmp_path: Path) -> None:
    asked, cut = {**asking(), "shards": True}, tmp_path / "cut"
    for said in pair(cut, **asked, cut=4):
        assert said.startswith("Interrupted: stopped after step 4 of 8"), said
    assert pair(cut, **asked) == ("done", "done")
    found, whole = run_alone(asked, cut), run_alone(asked)
    torch.testing.assert_close(found.prompt.vectors, whole.prompt.vectors, **NEARLY)


@pytest.mark.parametrize("lost", ["kill", "die", "fail"])
def test_one_that_is_lost_ends_the_other(pair: Pair, lost: str, tmp_path: Path) -> None:
    asked, cut = {**asking(), "shards": True}, tmp_path / "cut"
    # After step 4, where the first one is about to validate alone.
    first, second = pair(cut, **asked, **{lost: 4})
    gone = "TrainingError: another process of the run was lost"
    if lost == "kill":
        assert first.startswith(gone) and second == ""
    else:
        assert second.startswith(gone)
        assert first == (
            "" if lost == "die" else "FileError: the log cannot be written\n  where: disk"
        )
    assert pair(cut, **asked) == ("done", "done")
    found, whole = run_alone(asked, cut), run_alone(asked)
    torch.testing.assert_close(found.prompt.vectors, whole.prompt.vectors, **NEARLY)


def test_what_is_not_sharded_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    def place(model: Any, device: torch.device) -> None:
        raise AssertionError

    saved = {
        "bert": save_tiny(tmp_path / "bert", kind="bert"),
        "vit": save_vision(tmp_path / "vit"),
        "sam": save_sam(tmp_path / "sam"),
    }
    for kind, folder in saved.items():
        with pytest.raises(BackboneError, match="is not sharded") as caught:
            load_frozen(folder, device="cpu", place=place)
        assert caught.value.got == f"model_type '{kind}'"
    decoder = save_tiny(tmp_path / "llama")
    with pytest.raises(BackboneError, match="is not sharded") as caught:
        load_frozen(decoder, device="cpu", place=place, quantize="int8")
    assert caught.value.got == "quantised weights (int8)"


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_an_adapter_is_merged_before_it_is_sharded(tmp_path: Path) -> None:
    model, adapter = save_tiny(tmp_path / "model"), save_adapter(tmp_path / "adapter")
    merged = load_frozen(model, dtype="fp32", device="cpu", adapter=adapter)
    seen: list[Any] = []

    def place(given: Any, device: torch.device) -> None:
        seen.append(given.model.layers[0].mlp.down_proj.weight.clone())
        given.model.layers[0].mlp.down_proj.weight.data.zero_()  # as if it were not all there

    found = load_frozen(model, dtype="fp32", device="cpu", adapter=adapter, place=place)
    (weight,) = seen
    torch.testing.assert_close(weight, merged.model.model.layers[0].mlp.down_proj.weight)
    assert found.fingerprint == merged.fingerprint


def test_another_device_than_the_processes_exchange_on_is_refused() -> None:
    sharded = ShardedLayers(Ranks(0, 2, "cuda:0"))
    with pytest.raises(ConfigError, match="not sharded on this device"):
        sharded.place(tiny_model("llama"), torch.device("cpu"))
