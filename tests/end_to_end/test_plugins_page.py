"""docs/plugins.md: its package is installed, checked by `cuecard.testing` and used by commands."""

from __future__ import annotations

import json
import re
import shlex
import sys
import tomllib
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cuecard.methods import METHODS
from cuecard.search.searchers import SEARCHERS
from cuecard.search.searchers.writing import with_instruction
from cuecard.testing import check_method, check_searcher
from support.command_line import run_in_process, save_rows, save_tiny
from support.data.reviews import reviews
from support.plugin_packages import install_package

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
SETTINGS, MODULE, TEST, SEARCHER = [text for language, text in BLOCKS if language == "python"]


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's package and its searcher; what was loaded of them is forgotten afterwards."""
    (declared,) = [tomllib.loads(text) for language, text in BLOCKS if language == "toml"]
    points = declared["project"]["entry-points"]
    points["cuecard.searchers"] = {"reworder": "reworder:Reworder"}
    site = tmp_path / "site"
    modules = {
        "scaled_prompt.py": SETTINGS,
        "scaled_prompt_module.py": MODULE,
        "reworder.py": SEARCHER,
    }
    install_package(site, declared["project"]["name"], points, modules)
    broken = {"cuecard.methods": {"broken": "no_such_module:Broken", "dept": "scaled_prompt:X"}}
    install_package(site, "broken-prompts", broken, {})
    monkeypatch.syspath_prepend(site)
    for name in modules:
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    for offers in (METHODS, SEARCHERS):
        monkeypatch.setattr(offers, "_known", dict(offers._known))
        monkeypatch.setattr(offers, "_told", set())


@pytest.mark.filterwarnings("ignore:left out:cuecard.errors.CuecardWarning")
def test_the_method_keeps_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: Any = import_module("scaled_prompt").ScaledPrompt
    check_method(settings(length=5, init="random"))
    page: dict[str, Any] = {}
    exec(compile(TEST, "docs/plugins.md", "exec"), page)
    assert len(page["CASES"]) == 6  # two settings, three families
    (checks,) = (mark for mark in page["test_the_contract"].pytestmark if mark.args[0] == "check")
    page["test_the_contract"](next(iter(checks.args[1])), page["CASES"][-1])
    module: Any = import_module("scaled_prompt_module").ScaledModule
    groups = module.groups
    monkeypatch.setattr(module, "groups", lambda self: groups(self)[:1])
    with pytest.raises(AssertionError, match=r"gradients \(tiny-llama\): the parameters in groups"):
        check_method(settings(length=5, init="random"))


@pytest.mark.filterwarnings("ignore:left out:cuecard.errors.CuecardWarning")
def test_the_searcher_keeps_the_contract() -> None:
    check_searcher(SEARCHERS["reworder"].make)

    calls = count(1)

    class Forgetful:
        """Proposes what depends on how often it was made."""

        def __init__(self) -> None:
            self._number = next(calls)

        async def propose(self, state: Any, wanted: int) -> list[Any]:
            text = f"Film {self._number}, round {state.round}."
            return [with_instruction(state.best, text, "counted")]

    with pytest.raises(AssertionError, match="repeats: a search by the same seed"):
        check_searcher(Forgetful)


@pytest.mark.filterwarnings("ignore:left out:cuecard.errors.CuecardWarning")
def test_its_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cuecard = partial(run_in_process, capsys)
    rows = [{"text": r.text("text"), "label": str(r.target)} for r in reviews(60)]
    save_rows(tmp_path / "reviews.csv", rows)
    tiny = ("--backbone", str(save_tiny(tmp_path / "tiny")))
    (script,) = [text for language, text in BLOCKS if language == "sh"]
    pip, methods, train = map(shlex.split, script.splitlines())
    assert pip[:2] == ["pip", "install"]
    listed = cuecard(*methods[1:])
    assert listed.code == 0 and "their scales" in listed.out, listed.err
    assert "broken-prompts 1.0: broken = no_such_module:Broken" in listed.err
    assert "'dept' of broken-prompts 1.0: cuecard has one of that name" in listed.err
    done = cuecard(*train[1:], *tiny, "--steps", "3", "--no-compare", "--init", "random")
    assert done.code == 0, done.err
    kept = json.loads((tmp_path / "runs/reviews/prompt/prompt.json").read_text())
    assert kept["method"] == "scaled"
    monkeypatch.setattr(METHODS, "_known", {})  # to load and to answer nobody needs the package
    assert cuecard("predict", "runs/reviews", "a warm film", *tiny).code == 0
    monkeypatch.undo()


@pytest.mark.filterwarnings("ignore:left out:cuecard.errors.CuecardWarning")
def test_one_that_cannot_be_loaded_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = save_rows(
        tmp_path / "rows.csv", [{"text": f"{n}", "label": "ab"[n % 2]} for n in range(40)]
    )
    done = run_in_process(capsys, "train", data, "--method", "broken")
    assert done.code == 2
    assert "a method of an installed package cannot be loaded" in done.err
    assert "broken-prompts 1.0" in done.err and "No module named 'no_such_module'" in done.err
    done = run_in_process(
        capsys, "train", data, "--method", "scaled", "--set", "method.scale_lr=-1"
    )
    assert done.code == 2 and "scale_lr" in done.err
