"""What a kind of run shows on its page that others do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cuecard.board.records.index import RunPlace


@dataclass(frozen=True)
class Shown:
    """What a template shows.

    Attributes:
        data: facts, which are also the page's JSON.
        more: pictures of them.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


class Details(Protocol):
    """A kind of run's own part of the page.

    Attributes:
        template: the page, an extension of `run.html`.
        live_template: what changes while it runs, an extension of `live.html`.
    """

    @property
    def template(self) -> str: ...

    @property
    def live_template(self) -> str: ...

    def live(self, place: RunPlace) -> Shown:
        """What changes while it runs."""
        ...

    def whole(self, place: RunPlace) -> Shown:
        """What does not."""
        ...


class NoDetails:
    """A kind of run of which a page shows what all have."""

    template = "run.html"
    live_template = "live.html"

    def live(self, place: RunPlace) -> Shown:
        """Nothing more."""
        return Shown()

    def whole(self, place: RunPlace) -> Shown:
        """Nothing more."""
        return Shown()
