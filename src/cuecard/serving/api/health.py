"""`/readyz`: whether to send requests here, and any problems."""

from __future__ import annotations

from typing import Any

from cuecard.serving.api.service import Service
from cuecard.serving.http.auth import KeyStore
from cuecard.serving.http.middleware import ShutdownState
from cuecard.serving.models.catalog import PromptCatalog
from cuecard.serving.models.registry_state import RegistryState


def readiness(
    service: Service,
    state: RegistryState,
    shutdown: ShutdownState,
    keys: KeyStore | None,
    now: float,
) -> tuple[bool, dict[str, Any]]:
    """Whether the server is ready, and its state.

    An unreachable registry, a prompt that cannot answer and a malformed key file are reported, and
    the server stays ready: it answers with what it has. It is not ready while it shuts down, or
    after its engine failed.

    Args:
        now: monotonic time, by the clock of `state`.
    """
    failure = service.engine.stats().get("failed", 0.0)
    ready = not shutdown.draining and not failure
    seen = None if state.seen is None else round(now - state.seen, 1)
    facts = {
        "ready": ready,
        "draining": shutdown.draining,
        "engine": {"name": service.engine.name, "failed": bool(failure)},
        "backbone": service.catalog.backbone,
        "registry": {
            "url": state.url,
            "reachable": state.reachable,
            "problem": state.problem,
            "last_seen_seconds_ago": seen,
            "cache_problem": state.cache_problem,
        },
        "keys": None if keys is None else {"problem": keys.problem},
        "prompts": sum(len(entry.prompts) for entry in service.catalog.entries.values()),
        "loading": sum(len(entry.loading) for entry in service.catalog.entries.values()),
        "unserved": sum(len(entry.unserved) for entry in service.catalog.entries.values()),
        "problems": _problems(service.catalog, state),
        "refused": {
            f"{name}@{number}": why
            for name, entry in service.catalog.entries.items()
            for number, why in entry.refused.items()
        },
    }
    return ready, facts


def _problems(catalog: PromptCatalog, state: RegistryState) -> dict[str, str]:
    """References that should answer and do not, or not with the right version."""
    found = dict(state.name_problems or {})
    for name, entry in catalog.entries.items():
        for number, why in entry.broken.items():
            found[f"{name}@{number}"] = why
        for alias, number in entry.lost.items():
            now = entry.aliases.get(alias)
            found[f"{name}@{alias}"] = f"it points at {name}@{number}, which cannot answer; " + (
                f"{now} still answers" if now else "nothing answers in its place"
            )
    return found
