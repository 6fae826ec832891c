"""`--adapter` on every command that loads a backbone, and `cuecard lora`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cuecard.backbones.adapters.peft_folder import read_adapter
from support.command_line import Call
from support.peft_adapters import change_tensors, save_adapter

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tmp_path_factory.mktemp("adapters") / "reviews-lora")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tmp_path_factory.mktemp("adapters") / "other-lora", seed=2)


def words(command: str, data: Path, backbone: Path, out: Path) -> list[object]:
    found: list[object] = [command, data, "--text-field", "review", "--backbone", backbone]
    found += ["--template", "Review: {text}\\nSentiment:", "--word", "negative=bad"]
    return [*found, "--word", "positive=good", "--steps", "4", "--dtype", "fp32", "--out", out]


def shell(*given: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """A process of its own."""
    command = [sys.executable, "-m", "cuecard", *map(str, given)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "COLUMNS": "200"}
    )
    said = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == code, said
    assert "Traceback" not in said, said
    return done


@pytest.fixture(scope="module")
def adapted_run(
    data: Path, backbone: Path, lora: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run on base and adapter, by the shell."""
    out = tmp_path_factory.mktemp("runs") / "adapted"
    train = words("train", data, backbone, out)
    shell(*train, "--length", 3, "--no-compare", "--adapter", lora)
    return out


def test_the_run_names_its_adapter(cuecard: Call, adapted_run: Path, lora: Path) -> None:
    """Nothing need be said: predict, eval and inspect find it by the run's recipe."""
    digest = read_adapter(lora).digest
    assert cuecard("predict", adapted_run, "good fine").code == 0
    assert cuecard("inspect", adapted_run, "--json").json["backbone"]["fingerprint"]["adapter"] == (
        digest
    )
    assert digest[:12] in cuecard("inspect", adapted_run, "--no-words").out
    manifest = json.loads((adapted_run / "prompt" / "prompt.json").read_text())
    assert manifest["backbone"]["fingerprint"]["adapter"] == digest


def test_a_prompt_on_its_own_asks_for_it(
    cuecard: Call,
    adapted_run: Path,
    backbone: Path,
    lora: Path,
    other: Path,
    data: Path,
    tmp_path: Path,
) -> None:
    alone = shutil.copytree(adapted_run / "prompt", tmp_path / "alone")
    digest = read_adapter(lora).digest
    done = cuecard("predict", alone, "good fine", "--backbone", backbone)
    assert done.code == 2 and f"the adapter {digest}" in done.err
    given: list[object] = ["--backbone", backbone, "--adapter"]
    assert cuecard("predict", alone, "good fine", *given, lora).code == 0
    done = cuecard("eval", alone, data, "--text-field", "review", *given, lora, "--json")
    assert done.code == 0 and done.json["rows"] == 80
    assert cuecard("inspect", alone, *given, lora).code == 0
    rows = [data, alone, alone, "--text-field", "review"]
    assert cuecard("ensemble", *rows, *given, lora, "--json").json["rows"] == 80
    done = cuecard("predict", alone, "good fine", *given, other)
    assert done.code == 2 and digest in done.err and read_adapter(other).digest in done.err


def test_a_plain_prompt_refuses_an_adapter(cuecard: Call, run: Path, lora: Path) -> None:
    done = cuecard("predict", run, "good fine", "--adapter", lora)
    assert done.code == 2 and "no adapter" in done.err and "without --adapter" in done.err
    assert (
        "adapter"
        not in json.loads((run / "prompt" / "prompt.json").read_text())["backbone"]["fingerprint"]
    )


def test_sweeps_and_imports(
    cuecard: Call, data: Path, backbone: Path, lora: Path, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sweep"
    flags: list[object] = ["--length", 2, "--no-compare", "--adapter", lora, "--grid", "seed=0,1"]
    done = cuecard(*words("sweep", data, backbone, out), *flags, "--json")
    assert done.code == 0, done.err
    digest = read_adapter(lora).digest
    manifest = json.loads((out / "best" / "prompt" / "prompt.json").read_text())
    assert manifest["backbone"]["fingerprint"]["adapter"] == digest
    assert cuecard("predict", out / "best", "good fine").code == 0
    assert cuecard("export", run, tmp_path / "peft").code == 0
    done = cuecard(
        *("import", tmp_path / "peft", tmp_path / "imported", "--backbone", backbone),
        *("--template", "Review: {text}\\nSentiment:", "--labels", "bad,good"),
        *("--adapter", lora, "--json"),
    )
    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "imported" / "prompt.json").read_text())
    assert manifest["backbone"]["fingerprint"]["adapter"] == digest


def broken(folder: Path, lora: Path) -> Path:
    shutil.copytree(lora, folder)
    change_tensors(
        folder, lambda tensors: next(iter(tensors.values())).view(-1)[0].fill_(float("inf"))
    )
    return folder


@pytest.mark.parametrize("fault", ["missing", "broken", "for GPT-2"])
def test_a_bad_adapter_leaves_nothing(
    fault: str, data: Path, backbone: Path, lora: Path, tmp_path: Path
) -> None:
    folder = {
        "missing": lambda: tmp_path / "none",
        "broken": lambda: broken(tmp_path / "broken", lora),
        "for GPT-2": lambda: save_adapter(tmp_path / "gpt2", "gpt2"),
    }[fault]()
    out = tmp_path / "run"
    done = shell(*words("train", data, backbone, out), "--adapter", folder, code=2)
    said = {
        "missing": "no such folder",
        "broken": "NaN or infinity",
        "for GPT-2": "does not fit this model",
    }
    assert said[fault] in done.stderr and str(folder) in done.stderr
    assert not out.exists()


def test_lora_and_prompt_in_turn(
    cuecard: Call, data: Path, backbone: Path, run: Path, tmp_path: Path
) -> None:
    """An adapter behind a prompt, served together; and one alone, with a prompt on top."""
    out = tmp_path / "lora"
    given = [*words("lora", data, backbone, out), "--lr", "0.01", "--rank", "2"]
    done = cuecard(*given, "--prompt", run, "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out.splitlines()[-1])
    assert result["adapter"] == read_adapter(out / "adapter").digest
    assert result["trained"] == sum(
        2 * (up.up.shape[0] + up.down.shape[1])
        for up in read_adapter(out / "adapter").updates.values()
    )
    both = ["--backbone", backbone, "--adapter", out / "adapter"]
    assert cuecard("predict", out / "prompt", "good fine", *both).code == 0
    alone = [*words("lora", data, backbone, tmp_path / "alone"), "--targets", "q_proj,v_proj"]
    done = cuecard(*alone, "--rslora", "--alpha", "4")
    assert done.code == 0 and "adapter is of step" in done.out, done.err
    config = json.loads((tmp_path / "alone" / "adapter" / "adapter_config.json").read_text())
    assert config["use_rslora"] is True and config["lora_alpha"] == 4
    on_top = words("train", data, backbone, tmp_path / "on-top")
    done = cuecard(*on_top, "--no-compare", "--adapter", tmp_path / "alone" / "adapter")
    assert done.code == 0, done.err
    assert cuecard(*given, "--prompt", run).code == 0  # a finished run, found as it is


def test_what_lora_refuses(cuecard: Call, data: Path, backbone: Path, tmp_path: Path) -> None:
    out = tmp_path / "lora"
    given = words("lora", data, backbone, out)
    cases: dict[str, list[Any]] = {
        "an adapter, not a prompt": ["--length", 3],
        "invalid setting": ["--rank", 0],
        "no linear layer": ["--targets", "c_attn"],
        "plain weights": ["--adapter", save_adapter(tmp_path / "other")],
    }
    for text, more in cases.items():
        done = cuecard(*given, *more)
        assert done.code == 2 and text in done.err, (text, done.err)
        assert not out.exists()
    out.write_text("a file")
    done = cuecard(*given)
    assert done.code == 2 and "is a file" in done.err
