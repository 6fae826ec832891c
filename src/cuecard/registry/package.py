"""A prompt folder as bytes, checked as a prompt before it goes anywhere."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cuecard.artifacts import Prompt
from cuecard.artifacts.files import MANIFEST_FILE, OWN_FILES, publish_folder
from cuecard.artifacts.safetensors_file import MAX_TENSOR_BYTES, read_plain_file
from cuecard.errors import ArtifactError, RegistryError
from cuecard.types import Backbone


@dataclass(frozen=True)
class Contents:
    """A prompt and the bytes of its files.

    Attributes:
        files: by name.
        prompt: what `Prompt.load` made of exactly these bytes.
    """

    files: Mapping[str, bytes]
    prompt: Prompt

    @classmethod
    def check(cls, files: Mapping[str, bytes], where: str) -> Contents:
        """Make sure that the files are a prompt.

        Raises:
            ArtifactError: they are not, or cannot be trusted.
        """
        with tempfile.TemporaryDirectory(prefix="cuecard-") as room:
            folder = Path(room) / "prompt"
            publish_folder(folder, files, overwrite=False)
            try:
                return cls(dict(files), Prompt.load(folder))
            except ArtifactError as error:
                told = None if error.where is None else error.where.replace(str(folder), where)
                raise type(error)(
                    error.what,
                    where=told,
                    got=error.got,
                    expected=error.expected,
                    hint=error.hint,
                ) from error

    @classmethod
    def read(cls, folder: str | Path, *, strangers: bool = False) -> Contents:
        """Read a prompt folder.

        Args:
            strangers: pass over files that no prompt has instead of refusing the folder.

        Raises:
            ArtifactError: no prompt, or one that cannot be trusted; a link.
            RegistryError: other files in the folder.
        """
        folder = Path(folder)
        read_plain_file(folder, MANIFEST_FILE, MAX_TENSOR_BYTES)  # tells what is no prompt folder
        found = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")}
        if not strangers and (other := found - OWN_FILES):
            raise RegistryError(
                "the folder holds other files than a prompt's",
                where=str(folder),
                got=", ".join(sorted(other)[:5]),
                expected=", ".join(sorted(OWN_FILES)),
                hint="move them elsewhere",
            )
        names = sorted(found & OWN_FILES)
        files = {name: read_plain_file(folder, name, MAX_TENSOR_BYTES) for name in names}
        return cls.check(files, str(folder))

    def load(self, backbone: Backbone) -> Prompt:
        """The prompt on its backbone, with all checks of `Prompt.load`.

        Raises:
            WrongBackboneError: it was made for another one.
            ArtifactError: it does not give the scores there that it should.
        """
        with tempfile.TemporaryDirectory(prefix="cuecard-") as room:
            return Prompt.load(self.write(Path(room) / "prompt"), backbone)

    def write(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Put the folder in place in one step; nothing happens where exactly this lies there.

        Raises:
            ArtifactError: something else is there, or it cannot be written.
        """
        folder = Path(folder).absolute()
        if not self._lies_in(folder):
            publish_folder(folder, self.files, overwrite=overwrite)
        return folder

    def _lies_in(self, folder: Path) -> bool:
        try:
            found = {entry.name for entry in folder.iterdir()}
            return found == set(self.files) and all(
                read_plain_file(folder, name, len(content)) == content
                for name, content in self.files.items()
            )
        except (OSError, ArtifactError):  # nothing there, or something else
            return False
