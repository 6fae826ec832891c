"""Which prompt another one was ported from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cuecard.artifacts.sealed import Sha256, StrictModel

Shown = Annotated[str, Field(min_length=1, max_length=2000)]


class PortedFrom(StrictModel):
    """The prompt whose answers another backbone's prompt was trained on.

    Attributes:
        name: its name in a registry, or its folder's; a label for people, never opened as a path.
        version: its number in the registry; None for a folder.
        digest: its own, which holds its backbone's fingerprint.
        backbone: what its maker called the model it was made for.
    """

    name: Shown
    version: int | None = Field(default=None, ge=1)
    digest: Sha256
    backbone: Shown

    def __str__(self) -> str:
        name = self.name if self.version is None else f"{self.name}@{self.version}"
        return f"{name} on {self.backbone} ({self.digest[:12]})"
