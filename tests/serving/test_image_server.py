"""Images end to end: a server in a process of its own, asked as the documentation says."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cuecard.registry import Registry
from support.command_line import run_in_process
from support.serving.pictures import base64_of, files, picture_registry
from support.serving.process import Process, serving
from support.tiny_vision import save_vision, tiny_vision

pytestmark = pytest.mark.integration
DOCS = Path(__file__).parents[2] / "docs/vision.md"
NAMES = ("a.png", "b.jpg", "c.png")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder, prompts for it, and pictures to send."""
    made = tmp_path_factory.mktemp("room")
    save_vision(made / "encoder")
    picture_registry(made, tiny_vision())
    (made / "new").mkdir()
    for name, png, jpeg in zip(NAMES, files(3), files(3, "JPEG"), strict=True):
        (made / "new" / name).write_bytes(png if name.endswith("png") else jpeg)
    return made


@pytest.fixture(scope="module")
def server(room: Path) -> Iterator[Process]:
    with serving(room / "pictures", room / "encoder", room / "home") as process:
        yield process


def examples() -> list[str]:
    """The ways to ask."""
    part = DOCS.read_text().split("## Serving", 1)[1]
    found = [each for each in re.findall(r"```sh\n(.*?)```", part, re.DOTALL) if "curl" in each]
    assert len(found) == 2
    return found


def predicted(room: Path, capsys: pytest.CaptureFixture[str], *names: str) -> Any:
    """What `cuecard predict` answers."""
    path = Registry(room / "pictures").read("drawn@1").prompt.save(room / "drawn")
    shown = [room / "new" / name for name in names]
    flags = ("--backbone", room / "encoder", "--dtype", "fp32", "--json")
    return run_in_process(capsys, "predict", path, *shown, *flags).json["predictions"]


def test_the_documentations_examples(
    server: Process, room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As they stand there, but for the port and the prompt's name."""
    wanted = predicted(room, capsys, *NAMES[:2])
    for script, count in zip(examples(), (2, 1), strict=True):
        assert "localhost:8000" in script and "pictures" in script
        script = script.replace("localhost:8000", server.url.removeprefix("http://"))
        script = script.replace("=pictures", "=drawn").replace('"pictures"', '"drawn"')
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=room,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        rows = json.loads(done.stdout)["data"]
        assert [row["version"] for row in rows] == ["drawn@1"] * count
        for row, right in zip(rows, wanted, strict=False):
            assert row["label"] == right["answer"]
            assert row["probabilities"] == pytest.approx(right["probabilities"], abs=1e-5)


def test_many_clients_with_images_good_and_bad(server: Process, room: Path) -> None:
    sent = [base64_of((room / "new" / name).read_bytes()) for name in NAMES]
    models = ["drawn@1", "drawn@2", "deep", "scans"]
    status, whole = server.call("/v1/classify", {"model": models, "input": sent})
    assert status == 200
    alone = {(row["index"], row["model"]): row["scores"] for row in whole["data"]}
    passes, rows = (server.gauge(f"cuecard_engine_{name}") for name in ("passes", "rows_scored"))

    def ask(number: int) -> None:
        if number % 5 == 4:
            body = {"model": "deep", "input": [sent[0], sent[1][: 80 * (number % 3)]]}
            status, answer = server.call("/v1/classify", body)
            assert status == 400 and answer["error"]["param"] == "input.1", answer
            return
        index, model = number % 3, models[number % 4]
        status, answer = server.call("/v1/classify", {"model": model, "input": sent[index]})
        assert status == 200, answer
        assert answer["data"][0]["scores"] == pytest.approx(alone[index, model], abs=1e-4)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, range(60)))
    assert server.gauge("cuecard_engine_rows_scored") - rows == 48
    assert server.gauge("cuecard_engine_passes") - passes <= 48
    assert server.gauge("cuecard_prompts_in_use") == 0
    assert server.events("failure") == [] and server.events("http") == []
