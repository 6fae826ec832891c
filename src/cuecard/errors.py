"""The exception tree.

    CuecardError                 what, where, got, expected, hint; exit code 2
    ├── ConfigError              an option, a recipe key or a combination that cannot be used
    ├── DataError                a file or a row of the user's data
    │   └── TemplateError        a template or its fields
    ├── CatalogueError           a name, a download or a conversion
    │   └── ChecksumError        bytes that are not the published ones
    ├── BackboneError            a model that cannot be loaded or used
    │   ├── FrozenError          a backbone that changed during training
    │   └── AdapterError         a LoRA adapter that cannot be trusted, or not on this model
    ├── ArtifactError            a prompt folder that cannot be trusted or read
    │   └── WrongBackboneError   a prompt made for another model
    ├── RegistryError            a registry that cannot be read or written as asked
    │   ├── ConflictError        another writer came first
    │   ├── PromotionError            a promotion whose conditions do not hold
    │   └── SignatureError       a version that nobody trusted has signed
    ├── TrainingError            a run that cannot start, continue or resume
    ├── EngineError              an engine that failed while it served
    ├── LLMError                 a model behind an address that gives no answer
    ├── FileError                a file, folder or stream that the system would not read or write
    └── Interrupted              Ctrl-C after the checkpoint is on disk; exit code 130

Every error a user can cause is one of these; the command line prints it without a traceback.

    CuecardWarning               something that a user should know and that stops nothing
    └── DataWarning              rows, parts or labels of the user's data

Warnings go through Python's `warnings`; the command line prints them on standard error.
"""

from __future__ import annotations

import errno
from copy import copy
from typing import Any, Self


class CuecardError(Exception):
    """An error that says what is wrong, where, what was found and what was expected.

    Args:
        what: one sentence, without the place.
        where: the place: a file, a file and row, an option.
        got: what was found there.
        expected: what would have been accepted.
        hint: what to do next.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        got: object = None,
        expected: object = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.got = None if got is None else str(got)
        self.expected = None if expected is None else str(expected)
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        parts = (
            ("where", self.where),
            ("got", self.got),
            ("expected", self.expected),
            ("hint", self.hint),
        )
        return "\n".join([self.what, *(f"  {name}: {value}" for name, value in parts if value)])

    def replaced(self, **details: str | None) -> Self:
        """The same error with another where, got, expected or hint."""
        found = copy(self)
        found.__dict__.update(details)
        found.args = (str(found),)
        return found

    def to_dict(self) -> dict[str, str | None]:
        """The same as a flat mapping, for `--json`."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "where": self.where,
            "got": self.got,
            "expected": self.expected,
            "hint": self.hint,
        }


class ConfigError(CuecardError):
    """An option, a recipe key or a combination that cannot be used."""


class DataError(CuecardError):
    """A file or a row of the user's data that cannot be used."""


class ImageTooLargeError(DataError):
    """An image with more bytes, pixels or frames than are read."""


class TemplateError(DataError):
    """A template that names an unknown field or cannot be parsed."""


class CatalogueError(CuecardError):
    """A catalogue name, a download or a conversion that failed."""


class ChecksumError(CatalogueError):
    """Bytes that are not the published ones."""


class BackboneError(CuecardError):
    """A model that cannot be found, loaded or used for what was asked."""


class FrozenError(BackboneError):
    """A backbone whose parameters changed although nothing may change them."""


class AdapterError(BackboneError):
    """A LoRA adapter that cannot be trusted, read, or put on the model that was given."""


class ArtifactError(CuecardError):
    """A prompt folder that cannot be trusted or read."""


class WrongBackboneError(ArtifactError):
    """A prompt made for another backbone than the one given."""


class RegistryError(CuecardError):
    """A registry, or a name in it, that cannot be read or written as asked."""


class ConflictError(RegistryError):
    """Another writer came first; doing it again decides on what is there now."""


class PromotionError(RegistryError):
    """A promotion whose conditions do not hold."""


class SignatureError(RegistryError):
    """A version without a valid signature of a trusted key."""


class TrainingError(CuecardError):
    """A run that cannot start, continue or resume."""


class LLMError(CuecardError):
    """A model behind an address that gives no answer.

    Args:
        fatal: whether no request will be answered: a wrong key, address or model.
        unpaid: whether it is known that the request cost nothing.
        unreachable: whether nothing is at the address, for now or ever.
    """

    def __init__(
        self,
        what: str,
        *,
        fatal: bool = False,
        unpaid: bool = False,
        unreachable: bool = False,
        **details: Any,
    ) -> None:
        super().__init__(what, **details)
        self.fatal, self.unpaid, self.unreachable = fatal, unpaid, unreachable


class EngineError(CuecardError):
    """An engine that failed while it served; the request was not at fault."""


class FileError(CuecardError):
    """A file, folder or stream that the operating system would not read or write."""

    @classmethod
    def of(
        cls, error: OSError, what: str | None = None, where: object = None, hint: str | None = None
    ) -> Self:
        """The error for what the system said.

        Args:
            what: one sentence; "the system refused to read or write" by default.
            where: the path or stream; by default the one that the error names.
        """
        place = where if where is not None else error.filename
        return cls(
            what or "the operating system refused to read or write",
            where=None if place is None else str(place),
            got=error.strerror or str(error) or type(error).__name__,
            hint=hint or _REMEDIES.get(error.errno or 0),
        )


_REMEDIES = {
    errno.ENOSPC: "free some disk space, or choose a folder on another disk",
    errno.EDQUOT: "your quota on this disk is used up: delete something, or choose another disk",
    errno.EFBIG: "the file is larger than the disk or a limit of this shell (ulimit -f) allows",
    errno.EROFS: "the file system is read-only: choose a folder on another one",
    errno.EACCES: "check the permissions of the file and its folder",
    errno.EPERM: "check the permissions of the file and its folder",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
}


class Interrupted(CuecardError):  # noqa: N818 - not a fault: the user asked for it
    """The user stopped the run; the checkpoint is on disk."""

    exit_code = 130


class CuecardWarning(UserWarning):
    """Something that a user should know and that stops nothing."""


class DataWarning(CuecardWarning):
    """Rows, parts or labels of the user's data that are left out or look wrong."""
