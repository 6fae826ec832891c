"""What `cuecard doctor` checks: the machine, the installation, the cache. It changes nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
import torch
from packaging.requirements import InvalidRequirement, Requirement

from cuecard.backbones.loading import choose_dtype
from cuecard.catalogue.cache import VARIABLE, cache_root
from cuecard.catalogue.entries import BACKBONES, DATASETS, Entry
from cuecard.catalogue.fetch import probe_index
from cuecard.catalogue.indexes import client_of
from cuecard.catalogue.manifest import find_damage
from cuecard.catalogue.resolve import entry_folder
from cuecard.errors import CatalogueError
from cuecard.lazy import EXTRAS
from cuecard.runs.recipe import Recipe

_OLDEST = (3, 11)
_MEMORY = 4e9  # the built-in backbone trained on the processor, with room to spare
_PACKAGE = "cuecard"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        name: what it is, in a word or two.
        ok: whether it is as it should be.
        detail: what was found.
        hint: what to do or to know; None where there is nothing to say.
    """

    name: str
    ok: bool
    detail: str
    hint: str | None = None

    def to_dict(self) -> dict[str, object]:
        """The same as a flat mapping, for `--json`."""
        return asdict(self)


def checks(*, online: bool = False) -> list[Check]:
    """Look at everything; a fault found is a `Check` that is not ok, never an exception.

    Args:
        online: also ask the package index, with pip's own settings, for the catalogue's packages.
    """
    found = [
        check_python(sys.version_info[:2]),
        check_torch(torch.get_num_threads(), usable_cores()),
        check_precision(),
        check_quantization(),
        check_extras(),
        check_accelerator(),
        check_memory(usable_memory()),
        *_check_cache_place(),
        check_packages(),
    ]
    return [*found, check_index()] if online else found


def _check_cache_place() -> list[Check]:
    try:
        return [check_disk(cache_root()), check_cache()]
    except CatalogueError as error:
        return [Check("Cache", False, f"{error.what}: {error.got}", error.hint)]
    except OSError as error:
        detail = f"{error.filename or cache_root()}: {error.strerror}"
        return [Check("Cache", False, detail, "check the folder's permissions")]


def check_python(version: tuple[int, int]) -> Check:
    """Whether this Python is new enough."""
    detail = f"{platform.python_version()} at {sys.executable}"
    oldest = ".".join(map(str, _OLDEST))
    hint = None if version >= _OLDEST else f"cuecard needs Python {oldest} or newer"
    return Check("Python", version >= _OLDEST, detail, hint)


def check_torch(threads: int, cores: float) -> Check:
    """Whether torch uses as many threads as it has cores."""
    ok = threads <= max(1.0, cores) + 0.5
    detail = f"{torch.__version__}, {threads} threads on {cores:g} usable cores"
    hint = f"more threads than cores are slow: OMP_NUM_THREADS={max(1, round(cores))}"
    return Check("torch", ok, detail, None if ok else hint)


def check_precision() -> Check:
    """What number format the processor is fast at; always ok, slow is not wrong."""
    capability = torch.backends.cpu.get_cpu_capability()
    fast = choose_dtype("auto", torch.device("cpu")) is torch.bfloat16
    detail = f"{platform.machine()}, {capability}, bfloat16 {'in hardware' if fast else 'emulated'}"
    hint = None if fast else "fp32 is the faster choice on this processor, and what auto takes"
    return Check("Processor", True, detail, hint)


def check_quantization() -> Check:
    """Which forms of 8 and 4 bits a backbone can be loaded in; always ok, they are extras."""
    forms = {"torchao": "int8, int4", "bitsandbytes": "nf4, llm-int8"}
    there = {name: find_spec(name) is not None for name in forms}
    if not torch.cuda.is_available():
        there["bitsandbytes"] = False
    found = [f"{forms[name]} ({name})" for name, usable in there.items() if usable]
    hint = None if there["torchao"] else "for int8 and int4: pip install 'cuecard[quant]'"
    return Check("Quantisation", True, "; ".join(found) or "none", hint)


def check_extras() -> Check:
    """Whether there is what trains, scores and converts; always ok, loading and serving do."""
    missing = {name: extra for name, extra in EXTRAS.items() if find_spec(name) is None}
    if not missing:
        return Check("Training", True, "its libraries are installed")
    extras = ",".join(sorted({*missing.values()}))
    detail = f"not installed: {', '.join(missing)}; prompts can be loaded and served"
    return Check("Training", True, detail, f"to train and score: pip install 'cuecard[{extras}]'")


def check_accelerator() -> Check:
    """Whether there is a device that torch can use; always ok, the processor will do."""
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]
        return Check("Accelerator", True, f"CUDA {torch.version.cuda}: {', '.join(names)}")
    if torch.backends.mps.is_available():
        return Check("Accelerator", True, "Apple MPS")
    built = torch.version.cuda
    hint = "torch is built for CUDA, but it finds no device: check the driver" if built else None
    return Check("Accelerator", True, "none, the processor is used", hint)


def check_memory(free: float) -> Check:
    """Whether the built-in backbone can be trained in the memory that is free."""
    ok = free >= _MEMORY
    detail = f"{free / 1e9:.1f} GB free of {psutil.virtual_memory().total / 1e9:.1f} GB"
    hint = f"training the built-in backbone needs {_MEMORY / 1e9:.0f} GB; take smaller batches"
    return Check("Memory", ok, detail, None if ok else hint)


def check_disk(root: Path) -> Check:
    """Whether the cache's disk has room for the built-in backbone, and for what else is listed."""
    wanted = {
        entry.name: 2 * entry.folder_bytes + sum(package.size for package in entry.packages)
        for entry in _entries()
        if find_damage(entry_folder(entry), entry) is not None
    }
    place = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    needed = sum(wanted.values()) / 1e9
    detail = f"{free / 1e9:.1f} GB free at {place}, {needed:.1f} GB for the whole catalogue"
    lacking = [name for name, size in wanted.items() if size > free]
    if lacking:
        detail += f"; no room for {', '.join(lacking)}"
    if Recipe.model_fields["backbone"].default in lacking:
        return Check("Disk", False, detail, f"free some space, or set {VARIABLE} to another disk")
    if not (place.is_dir() and os.access(place, os.W_OK)) and wanted:
        return Check("Disk", False, f"{place} cannot be written", f"set {VARIABLE} to a folder")
    return Check("Disk", True, detail)


def check_cache() -> Check:
    """Which catalogue entries are there and whole, byte by byte."""
    states: list[str] = []
    damaged: list[str] = []
    for entry in _entries():
        folder = entry_folder(entry)
        fault = find_damage(folder, entry, deep=True)
        if fault is None:
            states.append(f"{entry.name} ready")
        elif folder.exists():
            states.append(f"{entry.name} damaged: {fault}")
            damaged.append(str(folder))
        else:
            states.append(f"{entry.name} not fetched yet")
    size = sum(path.stat().st_size for path in cache_root().rglob("*") if path.is_file())
    detail = f"{cache_root()}, {size / 1e6:.0f} MB: {'; '.join(states)}"
    hint = f"delete {' and '.join(damaged)}; it is made again on the next use" if damaged else None
    return Check("Cache", not damaged, detail, hint)


def check_packages(requirements: Iterable[str] | None = None) -> Check:
    """Whether the installed versions are within the bounds that cuecard declares.

    Args:
        requirements: requirement lines; by default those of the installed cuecard.
    """
    if requirements is None:
        try:
            requirements = importlib.metadata.requires(_PACKAGE) or []
        except importlib.metadata.PackageNotFoundError:
            hint = "install it into this Python: pip install -e . -c constraints.txt"
            return Check("Packages", False, "cuecard runs, but it is not installed", hint)
    good: list[str] = []
    faults: list[str] = []
    for line in requirements:
        version, wrong = _judge(line)
        if wrong:
            faults.append(wrong)
        elif version:
            good.append(version)
    if faults:
        hint = "install again: pip install -e . -c constraints.txt"
        return Check("Packages", False, "; ".join(faults), hint)
    return Check("Packages", True, ", ".join(good))


def check_index() -> Check:
    """Whether the package indexes answer for the catalogue's packages.

    A registry whose client is not installed is no fault: its sets of images are all that is missed.
    """
    every = [entry.package for entry in _entries()]  # pieces of one file are published together
    # Several entries may be in one package.
    packages = list({client_of(each).wanted(each): each for each in every}.values())
    asked = [package for package in packages if client_of(package).missing() is None]
    faults = {p: fault for p in asked if (fault := probe_index(p)) is not None}
    if faults:
        settings = dict.fromkeys(client_of(package).settings for package in faults)
        told = "; ".join(f"{package.name}: {fault}" for package, fault in faults.items())
        return Check("Package index", False, told, f"check the network and {', '.join(settings)}")
    left = [f"{p.name} needs {client_of(p).tool}" for p in packages if p not in asked]
    return Check("Package index", True, ", ".join([p.name for p in asked] + left))


def usable_cores() -> float:
    """How many cores this process may use, by its affinity and its container's quota."""
    process = psutil.Process()
    cores = float(os.cpu_count() or 1)
    if hasattr(process, "cpu_affinity"):  # macOS has none
        cores = float(len(process.cpu_affinity()))
    quota = _control("cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():
        cores = min(cores, int(quota[0]) / int(quota[1]))
    return cores


def usable_memory() -> float:
    """How many bytes of memory are free, by the machine and the container's limit."""
    free = float(psutil.virtual_memory().available)
    limit, used = _control("memory.max"), _control("memory.current")
    if limit.isdigit() and used.isdigit():
        free = min(free, float(int(limit) - int(used)))
    return free


def _entries() -> list[Entry]:
    return [*BACKBONES.values(), *DATASETS.values()]


def _control(name: str) -> str:
    """A file of the container's control group (cgroup v2); empty where there is none."""
    path = Path("/sys/fs/cgroup") / name
    return path.read_text(encoding="ascii").strip() if path.is_file() else ""


def _judge(line: str) -> tuple[str, str]:
    """(name and version, what is wrong) of one requirement; both empty where it does not apply."""
    try:
        wanted = Requirement(line)
    except InvalidRequirement:
        return "", f"{line} cannot be read"
    # An optional extra is not a fault; its own command says when it is missing.
    if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
        return "", ""
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return "", f"{wanted.name} is missing, wanted {wanted.specifier}"
    if not wanted.specifier.contains(version, prereleases=True):
        return "", f"{wanted.name} {version}, wanted {wanted.specifier}"
    return f"{wanted.name} {version}", ""
