"""docs/many-machines.md: its two shells are run, its other recipes are read."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cuecard.shards import Shard
from support.cli_options import unknown_options
from support.command_line import save_tiny
from support.data.tickets import tickets

PAGE = (Path(__file__).parents[2] / "docs" / "many-machines.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
@pytest.mark.integration
def test_two_shells(tmp_path: Path, environment: dict[str, str]) -> None:
    (block,) = blocks("sh")
    (tmp_path / "tickets.csv").write_text(tickets(60))
    (tmp_path / "more.csv").write_text(tickets(11).replace("this week", "last week"))
    save_tiny(tmp_path / "tiny")
    few = "--steps 2 --length 3 --no-compare --backbone tiny"
    script = block.replace("--grid seed=0,1", f"--grid seed=0,1 {few}")
    assert script != block
    path = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=850,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "runs/tickets-sweep/sweep.json").read_text())
    assert [trial["number"] for trial in report["trials"]] == [*range(6)]
    assert report["best"][0]["test"] is not None
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [row["row"] for row in answers] == [*range(2, 13)]


def commands(script: str) -> Iterator[list[str]]:
    for line in script.replace("\\\n", " ").splitlines():
        found = re.search(r"\bcuecard (sweep|predict) [^&\"]*(\"[^\"]*\"[^&\"]*)*", line)
        if found is not None and not line.startswith("sweep="):
            yield shlex.split(found.group().replace('"', "") if "--wrap" in line else found.group())


def test_the_array_of_slurm() -> None:
    for script in blocks("bash"):
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (words,) = commands(script)
        assert unknown_options(words[1:]) == []
    array = blocks("bash")[0]
    assert array.startswith("#!/bin/bash\n#SBATCH")  # options after a command are not read
    found = re.search(r"--array=0-(\d+)", array)
    assert found is not None
    (words,) = commands(array)
    text = words[words.index("--shard") + 1]
    for index in range(int(found.group(1)) + 1):
        assert Shard.parse(text.replace("$SLURM_ARRAY_TASK_ID", str(index))).index == index
    assert Shard.parse(text.replace("$SLURM_ARRAY_TASK_ID", "0")).count == index + 1


def test_the_job_of_kubernetes() -> None:
    (text,) = blocks("yaml")
    job = yaml.safe_load(text)
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    words = [*container["command"], *container["args"]]
    assert unknown_options(words[1:]) == []
    shard = words[words.index("--shard") + 1]
    assert (job["kind"], spec["completionMode"]) == ("Job", "Indexed")
    assert shard == f"$(JOB_COMPLETION_INDEX)/{spec['completions']}"
    assert "$(JOB_COMPLETION_INDEX)" in words[words.index("--out") + 1]
    volumes = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # asked for by an index' own limit


def test_the_ways_to_start_several_processes() -> None:
    (script,) = blocks("shell")
    joined = script.replace("\\\n", " ")
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.findall(r"\bcuecard (train [^'\n]*)", joined)
    assert len(found) == 3
    for words in found:
        assert unknown_options(shlex.split(words)) == []
