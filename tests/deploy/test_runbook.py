"""docs/runbook.md: commands whose order matters, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cuecard.registry import Registry, Signer, read_trusted
from cuecard.registry.signing import check_signed
from cuecard.serving.http.auth import add_key, read_keys
from support.cli_options import commands_in
from support.command_line import run_in_process
from support.installs import ROOT
from support.random_prompts import random_prompt
from support.signing_keys import save_keys
from support.tiny import tiny_backbone

PAGE = (ROOT / "docs" / "runbook.md").read_text()


def section(heading: str) -> str:
    (found,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Two signed versions of reviews in the working directory, the second in production."""
    monkeypatch.chdir(tmp_path)
    private, _ = save_keys(tmp_path, "old")
    backbone = tiny_backbone()
    made = Registry(tmp_path / "prompts", who="ann@desk")
    for seed in range(2):
        folder = random_prompt(backbone, seed).save(tmp_path / f"run-{seed}")
        made.push(folder, "reviews", signer=Signer(private))
        made.promote(f"reviews@{seed + 1}", "production")
    return made


def test_rotating_keys(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_keys(tmp_path, "new")
    add_key(tmp_path / "keys.json", "shop")
    for words in commands_in(section("Rotating keys")):
        done = run_in_process(capsys, *words)
        if words[0] == "verify":  # the version that no alias points at is not signed anew
            assert done.code == 2 and "reviews@1" in done.out + done.err
            assert "reviews@2" not in done.out + done.err
        else:
            assert done.code == 0, done.err
    assert [key.id for key in read_keys(tmp_path / "keys.json")] == ["shop-2"]
    version = registry.resolve("reviews@production")
    assert version.number == 2
    check_signed(registry.store, version, read_trusted([tmp_path / "new.pub.pem"]))


def test_a_bad_promotion_is_taken_back(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    show, rollback, *_ = commands_in(section("A bad promotion"))
    for words in (show, rollback):
        done = run_in_process(capsys, *words)
        assert done.code == 0, done.err
    assert registry.resolve("reviews@production").number == 1
