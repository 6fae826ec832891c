"""A prompt folder as bytes, checked as a prompt before it goes anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cuecard.artifacts import Prompt
from cuecard.artifacts.files import OWN_FILES, publish_folder, read_folder, read_plain_file
from cuecard.errors import ArtifactError, RegistryError


@dataclass(frozen=True)
class Contents:
    """A prompt and the bytes of its files.

    Attributes:
        files: by name.
        prompt: what `Prompt.from_files` made of exactly these bytes.
    """

    files: Mapping[str, bytes]
    prompt: Prompt

    @classmethod
    def check(cls, files: Mapping[str, bytes], where: str) -> Contents:
        """Make sure that the files are a prompt.

        Raises:
            ArtifactError: they are not, or cannot be trusted.
        """
        return cls(dict(files), Prompt.from_files(files, where))

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
        files = read_folder(folder)
        found = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")}
        if not strangers and (other := found - OWN_FILES):
            raise RegistryError(
                "the folder holds other files than a prompt's",
                where=str(folder),
                got=", ".join(sorted(other)[:5]),
                expected=", ".join(sorted(OWN_FILES)),
                hint="move them elsewhere",
            )
        return cls.check(files, str(folder))

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
