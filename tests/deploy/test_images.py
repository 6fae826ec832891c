"""The images: what is in them, and that a server needs no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.installs import PROJECT, ROOT
from support.serving.process import Process

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
# What trains, reports and reads data files, and what these bring along.
LEFT_OUT = {"datasets", "matplotlib", "pandas", "pyarrow", "sklearn", "scipy", "optuna", "pytest"}


def stages() -> dict[str, tuple[str, list[list[str]]]]:
    """Stage -> what it begins with, and its instructions as words."""
    text = re.sub(r"(?m)^#.*\n", "", DOCKERFILE).replace("\\\n", " ")
    found: dict[str, tuple[str, list[list[str]]]] = {}
    for line in filter(None, text.splitlines()):
        words = line.split()
        if words[0] == "FROM":
            assert words[2] == "AS" and words[3] not in found
            found[words[3]] = words[1], []
        elif found:
            [*found.values()][-1][1].append(words)
        else:
            assert words[0] == "ARG"
    return found


def test_the_images_have_these_extras() -> None:
    installed = {
        stage: re.findall(r"\*\.whl\)\[([\w,]+)\]", " ".join(map(" ".join, instructions)))
        for stage, (_, instructions) in stages().items()
    }
    # As the fixture `packages` has.
    assert installed["serve-packages"] == ["serve,onnx,redis,s3,sign"]
    assert installed["train-packages"] == ["train,search,s3,sign"]
    assert {extra for (line,) in filter(None, installed.values()) for extra in line.split(",")} <= (
        PROJECT["optional-dependencies"].keys()
    )


@pytest.mark.integration
def test_a_server_needs_nothing_else(server: Process, packages: Path) -> None:
    assert not LEFT_OUT & {path.stem for path in packages.iterdir()}
    status, ready = server.call("/readyz")
    assert status == 200 and ready["prompts"] == 2 and ready["problems"] == {}


def test_every_image_is_built_from_what_is_there() -> None:
    found = stages()
    for stage, (base, instructions) in found.items():
        assert base in found or base == "python:${PYTHON}", stage
        for words in instructions:
            for source in re.findall(r"from=(\w[\w-]*)", " ".join(words)):
                assert source in found
            if words[0] == "COPY":
                assert all((ROOT / path).exists() for path in words[1:-1]), words


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    let_in = [line[1:] for line in lines if line.startswith("!")]
    copied = [
        path
        for _, instructions in stages().values()
        for words in instructions
        if words[0] == "COPY"
        for path in words[1:-1]
    ]
    assert "*" in lines and sorted(let_in) == sorted({*copied})


@pytest.mark.parametrize("target", ["serve", "serve-cuda", "train", "train-cuda"])
def test_every_target_runs_cuecard_and_not_as_root(target: str) -> None:
    found = stages()
    by_name: dict[str, list[str]] = {}
    stage = target
    while stage in found:
        stage, instructions = found[stage]
        # The last of a kind holds, and what a stage says goes before what it is built on says.
        by_name = {words[0]: words[1:] for words in instructions} | by_name
    assert by_name["USER"] == ["10001:10001"]
    assert by_name["ENTRYPOINT"] == ['["cuecard"]']
    if target.startswith("serve"):
        assert by_name["STOPSIGNAL"] == ["SIGTERM"] and "HEALTHCHECK" in by_name
