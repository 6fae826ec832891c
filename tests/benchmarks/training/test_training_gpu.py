"""The accelerator's benchmark in its smallest shape, where there may be no accelerator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.training.gpu import SMOKE, main

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


def test_smoke_run_measures_both_contestants(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    assert main(["--smoke", "--rounds", "2", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["ratio"] == pytest.approx(found["peft_step_s"] / found["ours_step_s"])
    assert found["ours_tokens_per_s"] > 0 and found["matrix_share"] > 0
    weights = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128)  # two layers
    tokens = SMOKE.prompt + SMOKE.rows * SMOKE.tokens
    assert found["ours_flops"] == 4 * tokens * weights


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "no GPU was found" in capsys.readouterr().err
