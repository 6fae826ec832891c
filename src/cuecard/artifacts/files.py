"""The files of an artefact: names, strict reading (they may come from anyone), atomic writing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from cuecard.errors import ArtifactError
from cuecard.plain_files import flush_folder, read_bytes, replace_file, sibling, write_flushed
from cuecard.tasks.similar import nearest_beside

MANIFEST_FILE = "prompt.json"
TENSOR_FILE = "adapter_model.safetensors"
PEFT_FILE = "adapter_config.json"
SHARED_FILE = "shared.json"
OWN_FILES = frozenset({MANIFEST_FILE, TENSOR_FILE, PEFT_FILE, SHARED_FILE})
MAX_JSON_BYTES = 1 << 20
MAX_TENSOR_BYTES = 1 << 30
_OVERWRITE = "replace what is there with overwrite=True (--overwrite)"


def read_folder(folder: Path) -> dict[str, bytes]:
    """The bytes of a prompt folder's files by name, each read once; other files are left alone.

    Raises:
        ArtifactError: as `read_plain_file`; `adapter_config.json` alone may be missing.
    """
    found = {
        MANIFEST_FILE: read_plain_file(folder, MANIFEST_FILE, MAX_JSON_BYTES),
        TENSOR_FILE: read_plain_file(folder, TENSOR_FILE, MAX_TENSOR_BYTES),
    }
    if os.path.lexists(folder / PEFT_FILE):
        found[PEFT_FILE] = read_plain_file(folder, PEFT_FILE, MAX_JSON_BYTES)
    return found


def read_plain_file(folder: Path, name: str, max_bytes: int) -> bytes:
    """The bytes of `folder/name`, which must be a plain file, not a link, within max_bytes.

    Raises:
        ArtifactError: the file is missing, a link, not a plain file, too large or unreadable.
    """
    try:
        return read_bytes(folder / name, max_bytes, "prompt")
    except FileNotFoundError:
        raise _missing(folder, name) from None


def require(files: Mapping[str, bytes], name: str, where: str) -> bytes:
    """The content of a file that a prompt cannot be without.

    Raises:
        ArtifactError: it is not among the files.
    """
    if name not in files:
        raise ArtifactError("a file of the prompt is missing", where=where, expected=name)
    return files[name]


def publish_folder(folder: Path, contents: Mapping[str, bytes], *, overwrite: bool) -> None:
    """Put a folder with these files in place in one step.

    The files are written to a hidden sibling, flushed to disk and renamed, so the target is never
    there in part. Overwriting takes two renames; if the second fails, the first is undone.

    Raises:
        ArtifactError: the folder cannot be written, is not empty (without overwrite), or holds
            files that no artefact has (with overwrite).
    """
    staged = sibling(folder)
    try:
        _check_replaceable(folder, overwrite)
        folder.parent.mkdir(parents=True, exist_ok=True)
        staged.mkdir()
        for name, content in contents.items():
            write_flushed(staged / name, content)
        flush_folder(staged)
        _swap(staged, folder)
        flush_folder(folder.parent)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def publish_file(path: Path, content: bytes, *, overwrite: bool) -> None:
    """Put one file in place in one step.

    Raises:
        ArtifactError: the file exists (without overwrite), is not a plain file, or cannot be
            written.
    """
    try:
        _check_file_replaceable(path, overwrite)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _check_file_replaceable(path: Path, overwrite: bool) -> None:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ArtifactError("cannot overwrite this: it is not a regular file", where=str(path))
    if path.exists() and not overwrite:
        raise ArtifactError("the file already exists", where=str(path), hint=_OVERWRITE)


def _check_replaceable(folder: Path, overwrite: bool) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ArtifactError(
            "cannot write a folder here: there is a link or a file", where=str(folder)
        )
    found = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    if found and not overwrite:
        raise ArtifactError(
            "the folder is not empty",
            where=str(folder),
            got=", ".join(sorted(found)[:5]),
            hint=f"choose another folder, or {_OVERWRITE}",
        )
    if foreign := found - OWN_FILES:
        raise ArtifactError(
            "refusing to overwrite a folder that holds files other than a prompt's",
            where=str(folder),
            got=", ".join(sorted(foreign)[:5]),
            hint="choose another folder",
        )


def _swap(staged: Path, folder: Path) -> None:
    """Rename staged to folder; what was there comes back if the rename fails."""
    old = sibling(folder)
    if folder.exists():
        folder.rename(old)
    try:
        staged.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _cannot_write(path: Path, error: OSError) -> ArtifactError:
    return ArtifactError(
        "cannot write; no partial files were left",
        where=str(path),
        got=error.strerror or error,
        hint="check the folder's permissions and the disk's free space",
    )


def _missing(folder: Path, name: str) -> ArtifactError:
    hint = None
    if not folder.exists():
        hint = nearest_beside(folder, folders_only=True)
        return ArtifactError("no such prompt folder", where=str(folder), hint=hint)
    if not folder.is_dir():
        return ArtifactError("not a prompt folder", where=str(folder), expected="a folder")
    if (folder / "prompt" / name).is_file():
        hint = f"did you mean {folder / 'prompt'}?"
    elif (folder / "adapter_config.json").is_file() and name == "prompt.json":
        hint = "this looks like an adapter made by PEFT: import it with the task it was made for"
    elif (folder / "adapter_model.bin").exists():
        hint = "pickled weights (.bin) are never opened; save the adapter again as safetensors"
    return ArtifactError(
        "a file of the prompt is missing", where=str(folder), expected=name, hint=hint
    )
