"""docs/peft.md: every block is run, in its order, on a tiny model."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file

import cuecard
from support.cli_options import commands_in, unknown_options
from support.command_line import Call, run_in_process, save_tiny
from support.data.tickets import tickets

PAGE = (Path(__file__).parents[2] / "docs" / "peft.md").read_text()
BLOCKS = re.findall(r"```(python|sh)\n(.*?)```", PAGE, re.DOTALL)
BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
# Whether they fit together needs no good prompt.
SHORTER = {"max_steps=200": "max_steps=3", "--steps 60": "--steps 2 --no-compare"}


def shortened(text: str, base: Path) -> str:
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    return text.replace(BASE, str(base))


def run_line(line: str, variables: dict[str, str], cuecard: Call) -> str:
    """Run one line of a shell in this process: a command, or a variable."""
    for name, value in variables.items():
        line = line.replace(f"${name}", value)
    words = shlex.split(line)
    if words[0] == "export":
        name, _, value = words[1].partition("=")
        variables[name] = value
        return ""
    assert words[0] == "cuecard", line
    done = cuecard(*words[1:])
    assert done.code == 0, f"{line}\n{done.err}"
    return done.out


def run_server(script: str, variables: dict[str, str], room: Path) -> str:
    """Run a block that ends in a server; what it printed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lines = [line for line in script.splitlines() if not line.startswith("export PORT=")]
    assert len(lines) == len(script.splitlines()) - 1
    ending = "trap 'kill $(jobs -p) 2> ending.log || true' EXIT"
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join([ending, *lines])],
        cwd=room,
        env={**variables, "PORT": str(port), "PATH": path, "HOME": str(room), **OWN},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


OWN = {
    "PYTHONPATH": str(Path(cuecard.__file__).parents[1]),
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}


@pytest.mark.integration
# What transformers' Trainer and PEFT remark on where there is no accelerator.
@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set:UserWarning")
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_there_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = save_tiny(tmp_path / "tiny")
    (tmp_path / "tickets.csv").write_text(tickets(45))
    (tmp_path / "test.csv").write_text(tickets(30).replace("this week", "last week"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUECARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CUECARD_REGISTRY", raising=False)
    variables = {"CUECARD_CACHE": str(tmp_path / "cache")}
    names: dict[str, Any] = {}
    said: list[str] = []
    for language, text in BLOCKS:
        code = shortened(text, base)
        if language == "python":
            exec(compile(code, "peft.md", "exec"), names)
        elif "cuecard serve" in code:
            said.append(run_server(code, variables, tmp_path))
        else:
            run = partial(run_in_process, capsys)
            said += [run_line(line, variables, run) for line in code.splitlines()]
    answer = json.loads(said[-2].splitlines()[-1])
    assert "tickets@1" in json.dumps(answer)
    check_outcome(tmp_path, names)


def check_outcome(room: Path, names: dict[str, Any]) -> None:
    """What PEFT trained is what cuecard serves, and what cuecard trained is what PEFT has."""
    trained = load_file(room / "adapter" / "adapter_model.safetensors")["prompt_embeddings"]
    imported = cuecard.load_prompt(room / "prompts" / "tickets")
    assert torch.equal(imported.vectors, trained) and imported.spec.labels[0] == "billing"
    assert names["found"].records[0].text("text").endswith("last week")
    assert isinstance(names["config"], peft.PromptTuningConfig)
    own = cuecard.load_prompt(room / "runs" / "tickets")
    weights = dict(names["model"].named_parameters())
    (name,) = (name for name in weights if "prompt_encoder" in name)
    assert weights[name].requires_grad and torch.equal(weights[name].detach(), own.vectors)


def test_every_option_on_the_page_exists() -> None:
    found = list(commands_in(PAGE))
    assert len(found) > 5 and [unknown_options(words) for words in found] == [[]] * len(found)
