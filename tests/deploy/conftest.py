"""A server that runs with the packages of the serving image alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cuecard.names import load_backbone
from cuecard.registry import Registry
from cuecard.serving.http.auth import add_key
from support.command_line import save_tiny
from support.data.reviews import SPEC, TEXT_SPEC
from support.installs import ROOT, link_packages
from support.random_prompts import random_prompt
from support.serving.process import Process, serving


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages as the image has it: links to what is installed here."""
    extras = ("serve", "onnx", "redis", "s3", "sign")
    return link_packages(tmp_path_factory.mktemp("packages"), *extras)


@pytest.fixture(scope="session")
def server(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Two prompts behind a key, asked once each."""
    room = tmp_path_factory.mktemp("server")
    backbone = load_backbone(save_tiny(room / "tiny"), dtype="fp32")
    registry = Registry(room / "registry", who="ann@desk")
    for name, spec in (("reviews", SPEC), ("titles", TEXT_SPEC)):
        registry.push(random_prompt(backbone, spec=spec).save(room / name), name)
        registry.promote(f"{name}@1", "production")
    key = add_key(room / "keys.json", "prometheus")
    variables = {"PYTHONPATH": f"{packages}:{ROOT / 'src'}"}
    words = ("--keys", str(room / "keys.json"), "--serve", "aliases")
    command = [sys.executable, "-S", "-m", "cuecard"]  # without the environment's own packages
    with serving(
        room / "registry",
        room / "tiny",
        room / "work",
        *words,
        key=key,
        command=command,
        variables=variables,
    ) as process:
        asked = {"model": "reviews", "input": "a warm film"}
        status, answer = process.call("/v1/classify", asked)
        assert status == 200, answer
        asked = {"model": "titles", "prompt": "a warm film"}
        status, answer = process.call("/v1/completions", asked)
        assert status == 200, answer
        yield process
        process.popen.terminate()
        assert process.popen.wait(60) == 0
