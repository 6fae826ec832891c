"""Making, saving and loading prompts: equal, whole, or refused."""

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cuecard.artifacts import Prompt
from cuecard.artifacts.lineage import PortedFrom
from cuecard.artifacts.safetensors_file import TENSOR_NAME
from cuecard.backbones import CausalBackbone
from cuecard.errors import ArtifactError, ConfigError
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Slot

TENSOR = "adapter_model.safetensors"


@pytest.mark.parametrize("slot", ["prefix", "suffix"])
def test_load_gives_what_was_saved(
    make_prompt: Any, backbone: CausalBackbone, tmp_path: Path, slot: Slot
) -> None:
    saved = make_prompt(slot)
    saved.save(tmp_path / "a" / "b")
    loaded = Prompt.load(tmp_path / "a" / "b", backbone)
    assert torch.equal(loaded.vectors, saved.vectors)
    assert loaded.manifest == saved.manifest
    assert loaded.digest == saved.digest
    assert loaded.spec == saved.spec
    assert torch.equal(loaded.injection().vectors, saved.vectors)
    assert loaded.nbytes == 5 * 32 * 4
    names = {path.name for path in (tmp_path / "a" / "b").iterdir()}
    peft = {"adapter_config.json"} if slot == "prefix" else set()
    assert names == {"prompt.json", TENSOR} | peft


def test_same_input_same_bytes(make_prompt: Any, prompt: Prompt, tmp_path: Path) -> None:
    first, second = prompt.save(tmp_path / "1"), make_prompt().save(tmp_path / "2")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_create_copies_and_detaches(make_prompt: Any) -> None:
    trained = torch.nn.Parameter(torch.ones(2, 32))
    made = make_prompt(vectors=trained)
    with torch.no_grad():
        trained.zero_()
    assert bool((made.vectors == 1).all())
    assert not made.vectors.requires_grad


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.full((2, 32), torch.nan), "NaN"),
        (torch.full((2, 32), torch.inf), "infinity"),
        (torch.ones(2, 31), "do not fit"),
        (torch.ones(32), "do not fit"),
    ],
    ids=["nan", "inf", "width", "rank"],
)
def test_unusable_vectors_are_never_made_into_a_prompt(
    make_prompt: Any, bad: torch.Tensor, message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        make_prompt(vectors=bad)


@pytest.mark.parametrize(
    "changes",
    [
        {"metrics": {"accuracy": float("nan")}},
        {"metrics": {"curve": [0.5, float("inf")]}},
        {"metrics": {"model": object()}},
        {"prior": {"negative": float("-inf")}},
        {"method_config": {"init": torch.ones(1)}},
        {"data_hash": "not a hash"},
        {"seed": "7"},
    ],
    ids=lambda changes: str(next(iter(changes.items())))[:30],
)
def test_what_is_no_finite_json_is_a_config_error(make_prompt: Any, changes: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be stored") as caught:
        make_prompt(**changes)
    assert next(iter(changes)) in str(caught.value.got)


def test_numpy_scores_are_stored_as_numbers(make_prompt: Any, tmp_path: Path) -> None:
    made = make_prompt(metrics={"accuracy": np.float64(0.25)})
    made.save(tmp_path / "p")
    assert json.loads((tmp_path / "p" / "prompt.json").read_bytes())["metrics"] == {
        "accuracy": 0.25
    }


def test_with_metrics_changes_metrics_and_digest_alone(prompt: Prompt) -> None:
    other = prompt.with_metrics({"accuracy": 0.5})
    assert other.manifest.metrics == {"accuracy": 0.5}
    assert other.digest != prompt.digest
    restored = other.with_metrics(prompt.manifest.metrics)
    assert restored.manifest == prompt.manifest
    assert restored.digest == prompt.digest
    with pytest.raises(ConfigError, match="cannot be stored"):
        prompt.with_metrics({"accuracy": float("nan")})


def test_a_ported_prompt_says_from_which_one(prompt: Prompt, tmp_path: Path) -> None:
    assert "ported_from" not in json.loads(prompt.manifest.to_bytes())  # digests stay as they were
    entry = PortedFrom(name="reviews", version=3, digest=prompt.digest, backbone="small")
    ported = prompt.with_metrics({}, ported_from=entry)
    ported.save(tmp_path / "p")
    found = Prompt.load(tmp_path / "p")
    assert found.manifest.ported_from == entry and found.digest == ported.digest != prompt.digest
    assert str(entry) == f"reviews@3 on small ({prompt.digest[:12]})"
    assert found.with_metrics({"accuracy": 1.0}).manifest.ported_from == entry


def test_save_keeps_another_prompt_unless_told(
    make_prompt: Any, prompt: Prompt, folder: Path
) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    prompt.save(folder)
    assert before == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    other = make_prompt(seed=8)
    with pytest.raises(ArtifactError, match="not empty"):
        other.save(folder)
    assert Prompt.load(folder).digest == prompt.digest
    other.save(folder, overwrite=True)
    assert Prompt.load(folder).digest == other.digest


def test_a_damaged_copy_of_itself_is_repaired_only_when_told(prompt: Prompt, folder: Path) -> None:
    (folder / TENSOR).write_bytes(b"")
    with pytest.raises(ArtifactError, match="not empty"):
        prompt.save(folder)
    prompt.save(folder, overwrite=True)
    assert Prompt.load(folder).digest == prompt.digest


def test_a_prefix_prompt_over_a_suffix_one_leaves_no_stale_file(
    make_prompt: Any, folder: Path
) -> None:
    make_prompt("suffix").save(folder, overwrite=True)
    assert {path.name for path in folder.iterdir()} == {"prompt.json", TENSOR}


@pytest.mark.parametrize("overwriting", [False, True])
def test_a_failing_write_leaves_nothing_half_written(
    make_prompt: Any,
    prompt: Prompt,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overwriting: bool,
) -> None:
    target = tmp_path / "p"
    if overwriting:
        prompt.save(target)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match="No space left"):
        make_prompt(seed=8).save(target, overwrite=overwriting)
    assert [path.name for path in tmp_path.iterdir()] == (["p"] if overwriting else [])
    if overwriting:
        assert Prompt.load(target).digest == prompt.digest


def test_vectors_changed_in_memory_are_not_saved(make_prompt: Any, tmp_path: Path) -> None:
    made = make_prompt()
    made.vectors[0, 0] += 1
    with pytest.raises(ArtifactError, match="tensor was altered"):
        made.save(tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["prompt.json", TENSOR, "adapter_config.json"])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match="missing") as caught:
        Prompt.load(folder)
    assert caught.value.expected == name


@pytest.mark.parametrize("name", ["prompt.json", TENSOR, "adapter_config.json"])
def test_linked_file_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    shutil.move(folder / name, tmp_path / "outside")
    (folder / name).symlink_to(tmp_path / "outside")
    with pytest.raises(ArtifactError, match="links are not followed"):
        Prompt.load(folder)


@pytest.mark.parametrize("name", ["prompt.json", TENSOR, "adapter_config.json"])
def test_truncated_file_is_refused(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-5])
    with pytest.raises(ArtifactError, match=r"cut short|broken JSON|altered"):
        Prompt.load(folder)


@pytest.mark.parametrize("name", ["prompt.json", TENSOR, "adapter_config.json"])
def test_any_flipped_bit_is_refused(folder: Path, name: str) -> None:
    """But for white space and for what no reader acts on: versions and safetensors' metadata."""
    content = (folder / name).read_bytes()
    inert = content.find(b'{"format"'), content.find(b'},"prompt_embeddings"')
    versions = content.find(b'"created_with"') if name == "prompt.json" else len(content)
    for at in range(0, len(content), max(1, len(content) // 60)):
        if at >= versions:
            break
        if content[at : at + 1].isspace() or inert[0] <= at < inert[1]:
            continue
        flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        (folder / name).write_bytes(flipped)
        with pytest.raises(ArtifactError):
            Prompt.load(folder)


def test_altered_tensor_is_refused(prompt: Prompt, folder: Path) -> None:
    changed = prompt.vectors.clone()
    changed[2, 3] = torch.nextafter(changed[2, 3], torch.tensor(9.0))
    save_file({TENSOR_NAME: changed}, folder / TENSOR)
    with pytest.raises(ArtifactError, match="tensor was altered"):
        Prompt.load(folder)
    save_file({TENSOR_NAME: changed[:4].contiguous()}, folder / TENSOR)
    with pytest.raises(ArtifactError, match="shape is not the one"):
        Prompt.load(folder)


@pytest.mark.parametrize(("value", "message"), [(torch.nan, "NaN"), (torch.inf, "infinity")])
def test_numbers_that_are_none_are_refused(
    prompt: Prompt, folder: Path, value: float, message: str
) -> None:
    changed = prompt.vectors.clone()
    changed[2, 3] = value
    save_file({TENSOR_NAME: changed}, folder / TENSOR)
    with pytest.raises(ArtifactError, match=message):
        Prompt.load(folder)


def test_pickle_is_refused_without_being_opened(folder: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "exploded",))

    for content in (pickle.dumps(Bomb()), pickle.dumps(Bomb(), protocol=2)):
        (folder / TENSOR).write_bytes(content)
        with pytest.raises(ArtifactError, match="pickle"):
            Prompt.load(folder)
    torch.save({TENSOR_NAME: torch.ones(1)}, folder / TENSOR)
    with pytest.raises(ArtifactError, match="pickle"):
        Prompt.load(folder)
    assert not (tmp_path / "exploded").exists()


def test_forged_tensor_names_are_refused(folder: Path, alter: Any) -> None:
    def rename(document: dict[str, Any]) -> None:
        document["tensors"] = {"../../x": document["tensors"].pop(TENSOR_NAME)}

    alter(rename)
    with pytest.raises(ArtifactError, match="exactly the prompt's tensor"):
        Prompt.load(folder)


def test_altered_adapter_config_is_refused(folder: Path) -> None:
    path = folder / "adapter_config.json"
    path.write_bytes(path.read_bytes().replace(b'"RANDOM"', b'"TEXT"'))
    with pytest.raises(ArtifactError, match="adapter configuration was altered"):
        Prompt.load(folder)


def test_adapter_config_beside_a_suffix_prompt_is_refused(
    make_prompt: Any, folder: Path, tmp_path: Path
) -> None:
    suffix = make_prompt("suffix").save(tmp_path / "suffix")
    shutil.copy(folder / "adapter_config.json", suffix)
    with pytest.raises(ArtifactError, match="does not belong"):
        Prompt.load(suffix)


@pytest.mark.parametrize(
    "task",
    [
        {"template": "Review: {text.__class__}"},
        {"template": "no gap"},
        {"labels": []},
        {"labels": ["a", "a"]},
        {"kind": "shell"},
        {"command": "rm"},
        {"max_length": -1},
    ],
    ids=str,
)
def test_forged_task_is_refused(folder: Path, alter: Any, task: dict[str, Any]) -> None:
    alter(lambda document: document["task"].update(task))
    with pytest.raises(ArtifactError, match="task is invalid"):
        Prompt.load(folder)


def test_a_text_to_text_prompt(make_prompt: Any, backbone: CausalBackbone, tmp_path: Path) -> None:
    spec = TaskSpec(kind="text-to-text", template="{question}\nAnswer:", target_field="answer")
    made = make_prompt(spec=spec, prior=None)
    made.save(tmp_path / "p")
    assert Prompt.load(tmp_path / "p", backbone).spec == spec


def test_load_takes_a_folder_behind_a_link(prompt: Prompt, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(folder, target_is_directory=True)
    assert Prompt.load(str(tmp_path / "latest")).digest == prompt.digest
