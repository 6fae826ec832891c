"""The README's commands, run as they stand there."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import PIL.Image
import pytest

from cuecard.llms.protocol import LLMRequest
from support import scripted_graphrag
from support.command_line import save_tiny
from support.data.tickets import tickets
from support.http_llm import http_llm
from support.scripted_graphrag import kind_of, save_corpus
from support.tiny_vision import save_vision

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def shortened(text: str, steps: str, fewer: str) -> str:
    """The same with fewer steps: whether the commands fit together needs no good prompt."""
    assert steps in text
    return text.replace(steps, fewer)


def block(after: str, language: str) -> str:
    part = README.split(after, 1)[1]
    found = re.search(rf"```{language}\n(.*?)```", part, re.DOTALL)
    assert found is not None
    return found.group(1)


def films(count: int) -> str:
    """A CSV of reviews with two labels."""
    rows = ["text,label"]
    for number in range(count):
        good = number % 2
        text = f"{'a lovely warm film' if good else 'a dull and lifeless mess'} {number}"
        rows.append(f"{text},{'positive' if good else 'negative'}")
    return "\n".join(rows) + "\n"


def test_the_two_commands_are_targets() -> None:
    commands = [line.split("#")[0].split() for line in block("## Try it", "sh").splitlines()]
    assert commands == [["make", "demo"], ["make", "test"]]
    for _, target in commands:
        plan = subprocess.run(
            ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        assert {"demo": "cuecard demo", "test": "pytest"}[target] in plan


@pytest.mark.slow
@pytest.mark.integration
def test_your_own_data(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "tickets.csv").write_text(tickets())
    (tmp_path / "more-tickets.csv").write_text(tickets(45).replace("this week", "last week"))
    bin_folder = Path(sys.executable).parent
    lines = shortened(block("## Your own data", "sh"), "--steps 60", "--steps 4").splitlines()
    script = "\n".join(line for line in lines if "activate" not in line)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment | {"PATH": f"{bin_folder}:{environment['PATH']}"},
        capture_output=True,
        text=True,
        timeout=850,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "runs/tickets/report.md").is_file()
    assert "billing" in done.stdout


@pytest.mark.slow
@pytest.mark.integration
def test_the_library_example(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "reviews.csv").write_text(films(60))
    code = shortened(block("## As a library", "python"), "steps=60", "steps=4")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=850,
    )
    assert done.returncode == 0, done.stderr
    assert "negative" in done.stdout
    assert (tmp_path / "reviews" / "prompt.json").is_file()


def _served(
    room: Path,
    heading: str,
    settings: str,
    variable: str,
    backbone: Path,
    cost: tuple[str, str] = ("--steps 60", "--steps 2"),
) -> str:
    """Run a block that ends in a server on a tiny backbone and a free port; what it printed.

    Args:
        cost: what it spends, and what it spends here.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = block(heading, "sh")
    assert script.startswith(settings)
    script = shortened(script.removeprefix(settings), *cost)
    variables = {
        variable: str(backbone),
        "PORT": str(port),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CUECARD_CACHE": str(room / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    ending = "trap 'kill $(jobs -p) 2> ending.log || true' EXIT\n"  # the server, if a line fails
    with subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", ending + script],
        cwd=room,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            said, told = shell.communicate(timeout=850)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    assert shell.returncode == 0, said + told
    return said


@pytest.mark.slow
@pytest.mark.integration
def test_a_csv_to_a_served_hard_prompt(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text(films(80))
    settings = "export BACKBONE=smollm2-135m-instruct PORT=8002\n"
    heading = "## From a CSV to a served hard prompt"
    model = save_tiny(tmp_path / "tiny-model")
    cost = ("'2000 calls'", "'200 calls' --proposals 2 --race-rows 12 --rounds 4")
    said = _served(tmp_path, heading, settings, "BACKBONE", model, cost)
    words = (tmp_path / "prompt.txt").read_text()
    assert words.replace("\n", "").isprintable()
    assert "{text}" in words and words in said.split("text: ", 1)[1]  # from `cat`
    assert re.search(r"^round 1: \d new candidates?", said, re.MULTILINE)
    assert re.search(r"^(negative|positive)\t[01]\.\d+\ta gob of drivel$", said, re.MULTILINE)
    (classified,) = [line for line in said.splitlines() if line.startswith('{"object":"list"')]
    (row,) = json.loads(classified)["data"]
    assert row["version"] == "reviews@1"
    assert sum(row["probabilities"].values()) == pytest.approx(1.0)


@pytest.mark.slow
@pytest.mark.integration
def test_texts_to_measured_prompts_for_graphrag(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    save_corpus(tmp_path / "texts", 14)
    script = block("## From a folder of texts to GraphRAG's prompts", "sh")
    settings, _, commands = script.partition("\n")
    assert settings.startswith("export LLM=gpt-4o-mini URL=https://") and "TYPES=" in settings
    kinds: Counter[str] = Counter()

    def answer(request: LLMRequest) -> str:
        kinds[kind_of(request)] += 1
        return scripted_graphrag.answer(request)

    with http_llm(answer) as llm:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=tmp_path,
            env=environment
            | {"LLM": "a-model", "URL": llm.url, "TYPES": "person,ship"}
            | {"PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"},
            capture_output=True,
            text=True,
            timeout=850,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    # Nothing by the dry run; then three examples, and each of the texts with two prompts, twice.
    assert kinds == {"profile": 1, "example": 6, "measure": 2 * 2 * 14}
    assert (tmp_path / "project/prompts/tuned/extract_graph.txt").is_file()
    (head,) = [line for line in done.stdout.splitlines() if "tuned - generic" in line]
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("grounding")]
    assert head.split()[:2] == ["generic", "tuned"]
    assert re.findall(r"\d\.\d+", row)[0] == "1.000"


@pytest.mark.slow
@pytest.mark.integration
def test_many_tasks_from_one_server(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text(films(120))
    (tmp_path / "tickets.csv").write_text(tickets())
    settings = "export BACKBONE=smollm2-135m-instruct PORT=8000\n"
    model = save_tiny(tmp_path / "tiny-model")
    said = _served(tmp_path, "## Many tasks from one server", settings, "BACKBONE", model)
    (classified,) = [line for line in said.splitlines() if line.startswith('{"object":"list"')]
    rows = json.loads(classified)["data"]
    assert [row["version"] for row in rows] == ["reviews@2", "tickets@1"]
    assert sum(rows[1]["probabilities"].values()) == pytest.approx(1.0)
    assert re.search(r"^reviews@2 (negative|positive)$", said, re.MULTILINE)
    assert re.search(r"^tickets@1 (billing|bug|question)$", said, re.MULTILINE)
    assert re.search(r"^reviews@1 (negative|positive)$", said, re.MULTILINE)
    assert json.loads((tmp_path / "ready.json").read_text())["ready"] is True


@pytest.mark.slow
@pytest.mark.integration
def test_pictures_to_a_served_classifier(tmp_path: Path) -> None:
    for label, red in (("cat", 200), ("dog", 40)):
        folder = tmp_path / "pictures" / label
        folder.mkdir(parents=True)
        for number in range(1, 31):
            PIL.Image.new("RGB", (24, 24), (red, 6 * number, 90)).save(folder / f"{number}.png")
    settings = "export ENCODER=dinov2-small PORT=8001\n"
    encoder = save_vision(tmp_path / "encoder")
    heading = "## From a folder of pictures to a served classifier"
    said = _served(tmp_path, heading, settings, "ENCODER", encoder)
    (classified,) = [line for line in said.splitlines() if line.startswith('{"object":"list"')]
    rows = json.loads(classified)["data"]
    assert [row["version"] for row in rows] == ["pictures@1"] * 2
    for row in rows:
        assert set(row["probabilities"]) == {"cat", "dog"}
        assert sum(row["probabilities"].values()) == pytest.approx(1.0)
