"""Prometheus metrics."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cuecard.engine.protocol import Engine
from cuecard.serving.http.limits import RateLimiter
from cuecard.serving.models.catalog import PromptCatalog
from cuecard.serving.models.registry_state import RegistryState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(
        self,
        engine: Engine,
        catalog: PromptCatalog,
        limiter: RateLimiter,
        state: RegistryState,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "cuecard_requests",
            "Requests by route and status.",
            ("route", "status"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "cuecard_request_seconds",
            "Request duration, from the first byte read to the last byte written.",
            ("route",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.tokens = Counter(
            "cuecard_tokens",
            "Tokens processed: of inputs (prompt) and of answers (completion).",
            ("model", "kind"),
            registry=self._registry,
        )
        self.first_token = Histogram(
            "cuecard_first_token_seconds",
            "Time to the first generated token, from the first byte read; queueing included.",
            ("route",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.key_requests = Counter(
            "cuecard_key_requests",
            "Requests by API key and status; none without keys.",
            ("key", "status"),
            registry=self._registry,
        )
        self.key_tokens = Counter(
            "cuecard_key_tokens",
            "Tokens by API key: of inputs (prompt) and of answers (completion).",
            ("key", "kind"),
            registry=self._registry,
        )
        self._registry.register(_GaugeCollector(engine, catalog, limiter, state, clock))

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _GaugeCollector(Collector):
    """Gauges read at scrape time."""

    def __init__(
        self,
        engine: Engine,
        catalog: PromptCatalog,
        limiter: RateLimiter,
        state: RegistryState,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._catalog = catalog
        self._limiter = limiter
        self._state = state
        self._clock = clock

    def describe(self) -> Iterator[Metric]:
        """Nothing: the engine's metric names are only known at scrape time."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Gauges of the server, the registry and the engine."""
        state, entries = self._state, self._catalog.entries.values()
        seen = None if state.seen is None else self._clock() - state.seen
        values = {
            "open_requests": ("Open requests.", self._limiter.open),
            "prompts_served": ("Versions that can answer.", sum(len(s.prompts) for s in entries)),
            "prompts_in_use": ("Prompts in use by requests.", self._catalog.in_use),
            "prompts_broken": (
                "Versions and aliases that should be served and cannot answer.",
                sum(len(s.broken) + len(s.lost) for s in entries),
            ),
            "registry_reachable": (
                "Whether the last poll succeeded.",
                int(state.reachable),
            ),
            "registry_looks": ("Polls of the registry.", state.polls),
            "registry_failures": ("Failed polls of the registry.", state.failures),
            "registry_age_seconds": (
                "Seconds since the last successful poll; -1 if there was none.",
                -1.0 if seen is None else seen,
            ),
        }
        for name, (text, value) in values.items():
            yield GaugeMetricFamily(f"cuecard_{name}", text, value=float(value))
        for name, number in sorted(self._engine.stats().items()):
            known = re.sub(r"[^a-zA-Z0-9_]", "_", name)
            yield GaugeMetricFamily(f"cuecard_engine_{known}", "Engine statistic.", value=number)
