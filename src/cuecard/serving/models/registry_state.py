"""What is known of the connection to the registry, for readiness and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class RegistryState:
    """The state of the connection to the registry.

    Attributes:
        url: the registry's URL.
        reachable: whether the last poll succeeded.
        problem: why it failed.
        seen: monotonic time of the last successful poll; None if there was none.
        polls, failures: how many polls there were, and how many of them failed.
        cache_problem: why the disk cache cannot be written.
        name_problems: name -> why its versions cannot be listed.
    """

    url: str
    reachable: bool = False
    problem: str | None = None
    seen: float | None = None
    polls: int = 0
    failures: int = 0
    cache_problem: str | None = None
    name_problems: Mapping[str, str] | None = None
