"""What is told before a cluster is asked for; tests/serving/on_ray has the rest."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from cuecard.registry.registry import MARKER
from support.command_line import Call, save_tiny


def test_a_dry_run_prints_the_configuration(
    cuecard: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    done = cuecard(
        "deploy", "ray", "--backbone", "tiny", "--quantize", "int8", "--keys", "keys.json",
        "--host", "0.0.0.0", "--replicas", "3", "--gpus", "0.5", "--max-requests", "64",
        "--no-prefix-caching", "--name", "mine", "--dry-run",
    )  # fmt: skip
    assert done.code == 0, done.err
    config = yaml.safe_load(done.out)
    assert config["http_options"] == {"host": "0.0.0.0", "port": 8000}
    (application,) = config["applications"]
    assert application["name"] == "mine"
    assert application["args"] == {
        "registry": str(tmp_path / "prompts"),
        "served": {
            "backbone": "tiny",
            "quantize": "int8",
            "options": {"prefix_caching": False},
        },
        "server": {
            "host": "0.0.0.0",
            "keys": str(tmp_path / "keys.json"),
            "limits": {"max_requests": 64},
        },
        "ray": {"replicas": 3, "gpus": 0.5},
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with an empty registry."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / MARKER).write_text("{}")
    return tmp_path


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--host", "0.0.0.0"], "refusing to listen on a public address without API keys"),
        (["--registry", "nowhere"], "no registry"),
        (["--keys", "nowhere.json"], "cannot read the key file"),
        (["--replicas", "0"], "--replicas"),
        (["--engine", "vllm", "--device", "cpu"], "--device"),
        ([], "unknown backbone"),
    ],
)
def test_mistakes(cuecard: Call, words: list[str], told: str) -> None:
    done = cuecard("deploy", "ray", "--backbone", "no where", *words)
    assert done.code == 2
    assert told in done.err


@pytest.mark.parametrize("missing", ["ray", "cuecard.serving.on_ray.deploy"])
def test_without_the_extra(
    cuecard: Call, place: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    save_tiny(place / "tiny")
    done = cuecard("deploy", "ray", "--backbone", "tiny")
    assert done.code == 2
    assert "pip install 'cuecard[ray]'" in done.err
