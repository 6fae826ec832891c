"""Packages with entry points, as an installer leaves them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def install_package(
    site: Path, name: str, points: Mapping[str, Mapping[str, str]], modules: Mapping[str, str]
) -> Path:
    """Write a package's modules and its metadata into a folder of `sys.path`.

    Args:
        points: group -> name -> object.
        modules: file -> source.
    """
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, offered in points.items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in offered.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for file, source in modules.items():
        (site / file).write_text(source)
    return site
