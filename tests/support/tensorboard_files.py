"""TensorBoard's event files, read by their own format: records of a protocol buffer."""

from __future__ import annotations

import struct
from importlib import import_module
from pathlib import Path
from typing import Any


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Each curve in a folder's event files: its steps and values in the order they were written."""
    found: dict[str, list[tuple[int, float]]] = {}
    for event, value in _values(folder):
        if value.WhichOneof("value") == "simple_value":
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
        elif value.tensor.dtype == 1:  # DT_FLOAT
            found.setdefault(value.tag, []).append((event.step, value.tensor.float_val[0]))
    return found


def texts(folder: Path) -> dict[str, str]:
    """The texts in a folder's event files by their names."""
    return {
        value.tag.removesuffix("/text_summary"): value.tensor.string_val[0].decode()
        for _, value in _values(folder)
        if value.tensor.string_val
    }


def _values(folder: Path) -> list[tuple[Any, Any]]:
    events = import_module("tensorboardX.proto.event_pb2")
    found = []
    for path in sorted(folder.glob("events.*")):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (size,) = struct.unpack_from("<Q", content, place)
            event = events.Event.FromString(content[place + 12 : place + 12 + size])
            found += [(event, value) for value in event.summary.value]
            place += 12 + size + 4  # the length and its checksum before, the record's after
    return found
