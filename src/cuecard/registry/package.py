"""A prompt and the bytes of its files, as a registry stores and sends them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cuecard import artifacts
from cuecard.artifacts.files import OWN_FILES, publish_folder, read_folder, read_plain_file
from cuecard.errors import ArtifactError, RegistryError

if TYPE_CHECKING:
    from cuecard.artifacts import Prompt


@dataclass(frozen=True)
class PromptPackage:
    """A prompt and the bytes of its files.

    Attributes:
        files: by name.
        prompt: what `Prompt.from_files` made of exactly these bytes.
    """

    files: Mapping[str, bytes]
    prompt: Prompt

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], where: str) -> PromptPackage:
        """Parse and check the files of a prompt.

        Args:
            where: the folder or address they were read from, for messages.

        Raises:
            ArtifactError: as `Prompt.from_files`.
        """
        return cls(dict(files), artifacts.Prompt.from_files(files, where))

    @classmethod
    def read(cls, folder: str | Path, *, allow_others: bool = False) -> PromptPackage:
        """Read a prompt folder.

        Args:
            allow_others: ignore files that are not a prompt's instead of refusing the folder.

        Raises:
            ArtifactError: not a prompt, or one that cannot be trusted; a link.
            RegistryError: other files in the folder.
        """
        folder = Path(folder)
        files = read_folder(folder)
        found = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")}
        if not allow_others and (other := found - OWN_FILES):
            raise RegistryError(
                "the folder holds files other than a prompt's",
                where=str(folder),
                got=", ".join(sorted(other)[:5]),
                expected=", ".join(sorted(OWN_FILES)),
                hint="move them elsewhere",
            )
        return cls.from_files(files, str(folder))

    def write(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write the folder in one step; does nothing if it already holds exactly these files.

        Raises:
            ArtifactError: something else is there, or it cannot be written.
        """
        folder = Path(folder).absolute()
        if not self._is_in(folder):
            publish_folder(folder, self.files, overwrite=overwrite)
        return folder

    def _is_in(self, folder: Path) -> bool:
        try:
            found = {entry.name for entry in folder.iterdir()}
            return found == set(self.files) and all(
                read_plain_file(folder, name, len(content)) == content
                for name, content in self.files.items()
            )
        except (OSError, ArtifactError):  # nothing there, or something else
            return False
