"""Plans: what fits where, and how the ways to share the work differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cuecard.errors import ConfigError
from cuecard.planning.gpus import GPUS, Machine
from cuecard.planning.plan import HardwarePlan, PlannedWay, PlanSettings, plan_training
from support.published_configs import LLAMA_8B, LLAMA_70B


def planned(folder: Path, config: dict[str, Any] = LLAMA_8B, **settings: Any) -> HardwarePlan:
    (folder / "config.json").write_text(json.dumps(config))
    asked = {"backbone": "llama", "gpus": "8xH100", "rows": 100_000, **settings}
    return plan_training(PlanSettings.model_validate(asked), folder)


def ways(plan: HardwarePlan) -> dict[str, PlannedWay]:
    return {way.strategy: way for way in plan.ways}


def test_time_is_work_by_speed(tmp_path: Path) -> None:
    plan = planned(tmp_path, length=256, epochs=2, batch_rows=32, mfu=0.5)
    assert (plan.steps, plan.tokens) == (6250, 6250 * 32 * 276)
    assert plan.flops_per_token == pytest.approx(4 * plan.shape.active, rel=0.02)
    one = ways(plan)["one"]
    assert one.tokens_per_second == pytest.approx(0.5 * 989e12 / plan.flops_per_token)
    assert one.hours is not None
    assert one.hours * 3600 * one.tokens_per_second == pytest.approx(plan.tokens)


def test_gpus_share_rows_and_exchange_a_prompt(tmp_path: Path) -> None:
    found = ways(planned(tmp_path))
    one, both = found["one"], found["data-parallel"]
    assert both.rows_per_device == 4 and both.memory.kept == one.memory.kept / 8
    assert both.memory.weights == one.memory.weights
    assert both.exchanged == 7 * 20 * 4096 * 4 and one.exchanged == 0
    assert one.step_seconds is not None and both.step_seconds is not None
    assert one.step_seconds / 8 < both.step_seconds < 1.01 * one.step_seconds / 8


def test_what_does_not_fit_one_gpu_is_sharded_or_recomputed(tmp_path: Path) -> None:
    large = ways(planned(tmp_path, LLAMA_70B))
    assert large["one"].activations is large["one"].hours is None
    assert large["data-parallel"].tokens_per_second is None
    assert large["sharded"].activations == "keep"
    # An eighth of the layers, two of the 80 beside it, embeddings and head as a whole.
    outside = 2 * 2 * 128_256 * 8_192
    layers = 141.1e9 - outside
    expected = layers / 8 + layers * 2 / 80 + outside
    assert large["sharded"].memory.weights == pytest.approx(expected, rel=1e-3)
    many = ways(planned(tmp_path, batch_rows=128))
    assert many["one"].activations == "recompute"
    assert many["data-parallel"].activations == "keep"
    small = ways(planned(tmp_path, LLAMA_70B, quantize="int4", gpus="H100"))
    assert small.keys() == {"one"} and small["one"].activations == "recompute"
    both = ways(planned(tmp_path, quantize="int8"))
    assert both.keys() == {"one", "data-parallel"}  # quantised weights are not sharded


def test_a_slow_link_holds_sharded_weights_up(tmp_path: Path) -> None:
    fast, slow = (
        ways(planned(tmp_path, gpus=gpus, batch_rows=8))["sharded"]
        for gpus in ("8xH100", "8xH100-PCIE")
    )
    assert slow.step_seconds == pytest.approx(slow.exchanged / GPUS["H100-PCIE"].link)
    assert fast.step_seconds is not None and slow.step_seconds is not None
    assert slow.step_seconds > 3 * fast.step_seconds


def test_a_prefix_runs_no_tokens_of_its_own(tmp_path: Path) -> None:
    prompt, prefix = planned(tmp_path), planned(tmp_path, method="prefix-tuning")
    assert prefix.tokens / prompt.tokens == pytest.approx(256 / 276)
    assert prefix.trained == 20 * 32 * 2 * 8 * 128


def test_machines_as_they_are_written() -> None:
    assert Machine.parse("8xH100") == Machine.parse("8 x h100") == Machine(8, GPUS["H100"])
    assert Machine.parse("a100-40") == Machine(1, GPUS["A100-40"])
    for text in ("8xV100", "", "8x", "H100x8"):
        with pytest.raises(ConfigError, match="no such GPUs"):
            Machine.parse(text)
    assert all(gpu.source and gpu.name == name for name, gpu in GPUS.items())
