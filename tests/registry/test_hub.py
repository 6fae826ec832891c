"""The Hub's layout in a folder, its cache on a disk, and its protocol on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from cuecard.artifacts import Prompt
from cuecard.errors import ArtifactError, RegistryError
from cuecard.registry import (
    PromptPackage,
    parse_hub,
    pull_from_hub,
    read_hub_folder,
    write_hub_folder,
)
from support.command_line import save_tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_repository_in_a_folder(prompts: list[Path], tmp_path: Path) -> None:
    package = PromptPackage.read(prompts[0])
    folder = write_hub_folder(package, tmp_path / "hub")
    assert sorted(path.name for path in folder.iterdir()) == [
        ".gitattributes",
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "prompt.json",
    ]
    card = (folder / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "peft" and "prompt-tuning" in front["tags"]
    assert package.prompt.digest in card
    assert "*.safetensors filter=lfs" in (folder / ".gitattributes").read_text()
    back = read_hub_folder(folder)
    assert back.files == package.files
    assert back.prompt.digest == package.prompt.digest


def test_a_clone_is_updated_in_place(prompts: list[Path], tmp_path: Path) -> None:
    folder = write_hub_folder(PromptPackage.read(prompts[0]), tmp_path / "hub")
    (folder / ".git").mkdir()
    (folder / "NOTES.md").write_text("mine")
    with pytest.raises(ArtifactError, match="not empty"):
        write_hub_folder(PromptPackage.read(prompts[1]), folder)
    write_hub_folder(PromptPackage.read(prompts[1]), folder, overwrite=True)
    assert read_hub_folder(folder).prompt.digest == Prompt.load(prompts[1]).digest
    assert (folder / ".git").is_dir() and (folder / "NOTES.md").read_text() == "mine"


def cached(folder: Path, prompt: Path) -> Path:
    """The Hub's cache of a repository: files named by digests, links to them by name."""
    root = folder / "models--ann--reviews"
    snapshot = root / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (root / "blobs").mkdir()
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    for number, path in enumerate(sorted(prompt.iterdir())):
        (root / "blobs" / f"{number:040d}").write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(Path("../../blobs", f"{number:040d}"))
    return root


def test_the_hubs_cache(prompts: list[Path], tmp_path: Path) -> None:
    root = cached(tmp_path, prompts[0])
    digest = Prompt.load(prompts[0]).digest
    for revision in (None, "main", COMMIT):
        assert read_hub_folder(root, revision).prompt.digest == digest
    for revision in ("other", "f" * 40, "../snapshots"):
        with pytest.raises(RegistryError, match="no such revision"):
            read_hub_folder(root, revision)


def test_links_out_of_the_cache_are_refused(prompts: list[Path], tmp_path: Path) -> None:
    root = cached(tmp_path, prompts[0])
    link = root / "snapshots" / COMMIT / "prompt.json"
    link.unlink()
    link.symlink_to(prompts[1] / "prompt.json")
    with pytest.raises(RegistryError, match="a link leads out"):
        read_hub_folder(root)
    plain = tmp_path / "plain"
    plain.mkdir()
    for path in prompts[0].iterdir():
        (plain / path.name).symlink_to(path)
    with pytest.raises(ArtifactError, match="links are not followed"):
        read_hub_folder(plain)


def test_an_altered_file_is_refused(prompts: list[Path], tmp_path: Path) -> None:
    folder = write_hub_folder(PromptPackage.read(prompts[0]), tmp_path / "hub")
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(ArtifactError, match="altered") as refused:
        read_hub_folder(folder)
    assert str(refused.value.where) == str(path)


@pytest.mark.parametrize(
    "text", ["hf://reviews", "hf://a/b/c", "hf://../x", "hf:///x", "hf://a/b c"]
)
def test_what_is_no_repository(text: str) -> None:
    with pytest.raises(RegistryError, match="not a repository on the Hub"):
        parse_hub(text)


def test_the_hub_out_of_reach() -> None:
    """The tests run with HF_HUB_OFFLINE."""
    with pytest.raises(RegistryError, match="the request to the Hub failed"):
        pull_from_hub(parse_hub("hf://ann/reviews"))


@pytest.mark.integration
def test_the_hubs_protocol(prompts: list[Path], tmp_path: Path) -> None:
    """Push, look a branch up, pull the commit, import its PEFT adapter: through huggingface_hub,
    from a server of ours.
    """
    script = Path(__file__).parents[1] / "support" / "hub_server.py"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_TOKEN": "hf_test",
    }
    task = ("--template", r"Review: {text}\nSentiment:", "--labels", "negative,positive")
    backbone = ("--backbone", save_tiny(tmp_path / "tiny"), "--dtype", "fp32")
    words = ("import", "hf://ann/reviews", tmp_path / "imported", *backbone, *task)
    done = subprocess.run(
        [sys.executable, script, prompts[0], tmp_path / "pulled", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pushed = Prompt.load(prompts[0])
    assert Prompt.load(tmp_path / "pulled").digest == pushed.digest
    assert torch.equal(Prompt.load(tmp_path / "imported").vectors, pushed.vectors)
    assert "fetched hf://ann/reviews@" in done.stderr
