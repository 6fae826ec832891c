"""A run's folder: one process, one kind of run, and which settings differ."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from cuecard.errors import ConfigError, CuecardError, FileError, TrainingError
from cuecard.folder_lock import LOCK, held
from cuecard.runs.folder import RunFolder, differences
from cuecard.runs.lora_recipe import resume_lora
from cuecard.runs.multitask_recipe import resume_multitask
from cuecard.runs.recipe import resume
from cuecard.runs.recipe_file import RunRecipe
from cuecard.runs.run_kinds import RUN, SWEEP
from cuecard.runs.sweeps.sweep_recipe import resume_sweep

HOLDER = """
import sys, time
from pathlib import Path
from cuecard.folder_lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


class Settings(RunRecipe):
    KIND = RUN
    lr: float = 0.1
    compare: bool = True
    out: str = "runs/settings"

    @property
    def folder(self) -> Path:
        return Path(self.out)

    @property
    def paths(self) -> tuple[str, ...]:
        return ()

    def in_folder(self, folder: Path) -> Self:
        return self.model_copy(update={"out": str(folder)})


class Swept(Settings):
    KIND = SWEEP


def place(path: Path, recipe: type[Settings] = Settings) -> RunFolder[Settings]:
    return RunFolder(path, recipe)


def start(path: Path, settings: Settings, **options: Any) -> None:
    """A run that comes to something."""
    with place(path).claimed(settings, **options) as folder:
        (folder / "checkpoint.pt").touch()


def test_another_process_is_refused_until_it_ends_however_it_ends(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    try:
        for use in (lambda: place(tmp_path / "run").check(Settings()), start_in(tmp_path / "run")):
            with pytest.raises(TrainingError, match="another process") as refused:
                use()
            assert refused.value.where == str(tmp_path / "run")
            assert refused.value.exit_code == 2
        assert [p.name for p in (tmp_path / "run").iterdir()] == [LOCK]
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    start(tmp_path / "run", Settings())


def start_in(path: Path) -> Any:
    return lambda: start(path, Settings())


def test_a_folder_is_held_again_by_its_own_thread_alone(tmp_path: Path) -> None:
    seen: list[type[BaseException]] = []

    def other() -> None:
        try:
            with held(tmp_path):
                pass
        except CuecardError as error:
            seen.append(type(error))

    with held(tmp_path), held(tmp_path):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert seen == [TrainingError]
    with held(None):  # a run that keeps nothing
        pass


def test_what_differs_is_said_by_name_and_values(tmp_path: Path) -> None:
    start(tmp_path / "run", Settings())
    with pytest.raises(ConfigError) as refused:
        start(tmp_path / "run", Settings(lr=0.2, compare=False))
    assert refused.value.got == "lr: 0.1 -> 0.2"
    start(tmp_path / "run", Settings(compare=False))
    start(tmp_path / "run", Settings(lr=0.2), overwrite=True)


def test_settings_of_a_run_that_came_to_nothing_may_change(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), place(tmp_path / "run").claimed(Settings()):
        raise RuntimeError
    start(tmp_path / "run", Settings(lr=0.5))


def test_a_check_that_fails_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    def refuse(path: Path) -> None:
        raise TrainingError("the checkpoint of something else")

    (tmp_path / "run").mkdir()
    with pytest.raises(TrainingError, match="something else"):
        start(tmp_path / "run", Settings(), fits=refuse)
    assert not (tmp_path / "run" / RUN.file).exists()


def test_other_kinds_of_runs_keep_their_folders(tmp_path: Path) -> None:
    (tmp_path / SWEEP.file).write_text("")
    with pytest.raises(ConfigError, match="holds a sweep"):
        place(tmp_path).check(Settings(), overwrite=True)
    with pytest.raises(TrainingError, match="no run to resume") as refused:
        place(tmp_path).to_resume()
    assert refused.value.hint == f"cuecard sweep --resume {tmp_path}"
    (tmp_path / SWEEP.file).write_text("lr: 0.3")
    assert place(tmp_path, Swept).to_resume() == Swept(lr=0.3, out=str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file"):
        place(tmp_path / "file").check(Settings())
    with pytest.raises(FileError, match="cannot be written"):
        start(tmp_path / "file" / "below", Settings())


def test_differences_by_dotted_names() -> None:
    before = {"a": {"x": 1, "y": {}}, "tasks": {"one": {"n": 1, "m": 2}}, "gone": 0}
    now = {"a": {"x": 2, "y": {"z": None}}, "tasks": {"one": {"n": 5, "m": 3}}, "new": "text"}
    assert differences(before, now, {"tasks.*.n"}) == [
        "a.x: 1 -> 2",
        "a.y.z: (not set) -> None",
        "tasks.one.m: 2 -> 3",
        "new: (not set) -> 'text'",
        "gone: 0 -> (not set)",
    ]
    assert differences(before, before) == []
    assert differences(before, now, {"a", "tasks", "new", "gone"}) == []


RECIPE = {"data": {"path": "rows.csv"}}
RESUMES: dict[str, tuple[str, Any, Any]] = {
    "train": ("recipe.yaml", RECIPE, resume),
    "lora": ("lora.yaml", {"recipe": RECIPE}, resume_lora),
    "sweep": ("sweep.yaml", {"recipe": RECIPE, "sweep": {"grid": {"lr": [0.1]}}}, resume_sweep),
    "multitask": ("multitask.yaml", {"tasks": {"one": RECIPE, "two": RECIPE}}, resume_multitask),
}


@pytest.mark.parametrize("way", RESUMES)
def test_every_run_says_where_it_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    name, plan, go_on = RESUMES[way]
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / name).write_text(yaml.safe_dump(plan))
    (tmp_path / "rows.csv").write_text("text,label\n")
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(TrainingError, match="path is relative to another") as caught:
        go_on("../run")
    assert (caught.value.got, caught.value.hint) == ("rows.csv", f"cd {tmp_path}")


@pytest.mark.parametrize(
    ("written", "prompts", "known"),
    [
        ('{"key": "k", "passed": true}', ["a", "b"], True),
        ('{"key": "other"}', ["a"], False),
        ('{"key": "k"}', ["a", "c"], False),
        ('[{"key": "k"}]', ["a"], False),
        ('{"key": ', ["a"], False),
        (None, ["a"], False),
    ],
)
def test_a_report_is_of_the_finished_run_alone(
    written: str | None, prompts: list[str], known: bool, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "prompt.json").write_text("{}")
    (tmp_path / "c").mkdir()
    if written is not None:
        (tmp_path / RUN.done).write_text(written)
    found = place(tmp_path).report("k", prompts)
    assert found == ({"key": "k", "passed": True} if known else None)
