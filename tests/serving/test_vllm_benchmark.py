"""The serving benchmark's part on vLLM; its numbers are nobody's concern here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.places import ROOT
from benchmarks.serving.tables import serving_table
from benchmarks.tables import TABLES
from support.data.reviews import reviews
from support.serving.engines import KINDS
from support.serving.llama import save_tiny_llama

pytestmark = pytest.mark.integration


def test_prompts_and_no_prompts_are_measured(tmp_path: Path) -> None:
    KINDS["vllm"].needed()
    lines = [f'"{r.fields["text"]} {i}",{r.target}' for i, r in enumerate(reviews(60))]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    command = [sys.executable, "-m", "benchmarks.serving.vllm"]
    command += ["--backbone", str(save_tiny_llama(tmp_path / "tiny")), "--dtype", "fp32"]
    command += ["--reviews", str(tmp_path / "reviews.csv"), "--rounds", "1"]
    command += ["--requests", "8", "--answers", "4", "--new-tokens", "4"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    for name in ("classify", "classify_told", "write"):
        assert all(rate > 0 for rate in found[name]["per_cpu_s"].values())
        assert set(found[name]["per_cpu_s"]) == {"many", "one", "bare"}
    table = serving_table(TABLES["serving"].stored() | {"vllm": found})
    assert f"The engine on vLLM {found['vllm']} in the same run" in table
