"""Files that a command leaves where the user says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cuecard.errors import ConfigError, FileError


def check_place(path: Path | None, option: str) -> None:
    """Refuse a place where no file can be, before any work is done for it.

    Raises:
        ConfigError: a folder is there, or a file where its folder should be.
    """
    if path is None:
        return
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir() or not above.is_dir():
        raise ConfigError(
            "no file can be written here",
            where=option,
            got=f"{path if path.is_dir() else above} is a {'folder' if path.is_dir() else 'file'}",
            expected="a file's name in a folder",
        )


def check_new_folder(path: Path | None, option: str) -> None:
    """Refuse a place where no new folder can be, before any work is done for it.

    Raises:
        ConfigError: a file is there, or a folder with something in it.
    """
    if path is None or (path.is_dir() and not any(path.iterdir())):
        return
    if path.exists():
        raise ConfigError(
            "the folder has to be a new one",
            where=option,
            got=f"{path} is {'not empty' if path.is_dir() else 'a file'}",
            expected="a new or an empty folder",
        )
    check_place(path, option)


@contextmanager
def writing(option: str) -> Iterator[None]:
    """Name the option that gave a file in the error for it.

    Raises:
        FileError: the file cannot be written.
    """
    try:
        yield
    except FileError as error:
        raise FileError(
            error.what, where=f"{option} {error.where}", got=error.got, hint=error.hint
        ) from error
