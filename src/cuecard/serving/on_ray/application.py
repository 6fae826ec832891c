"""A Ray Serve application: replicas that each hold the backbone and all prompts of a registry.

Written for Ray 2.60. Serve routes requests and replaces replicas that end; each replica polls the
registry by itself, as `cuecard serve` does.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from starlette.types import ASGIApp

from cuecard.errors import EngineError
from cuecard.ray_cluster import import_ray
from cuecard.registry import Registry
from cuecard.serving.app_lifetime import OpenApp, end_task, open_app
from cuecard.serving.engines import open_engine
from cuecard.serving.http.limits import max_open
from cuecard.serving.logs import JsonLog
from cuecard.serving.on_ray.key_counts import KeyCounts, RayQuotas
from cuecard.serving.on_ray.settings import RayApplication

_OPERATIONS = 64
"""Requests beside those that are limited: health checks and metrics."""
_STARTS = 3
"""How often Serve tries to start a replica that fails to, before it gives up."""


class PromptReplica:
    """One replica: an engine, its prompts, and the application in front of them.

    Args:
        args: a `RayApplication` as JSON.
        counts: the deployment `KeyCounts`; None without keys, or where Redis counts.
    """

    def __init__(self, args: dict[str, Any], counts: Any = None) -> None:
        self._asked = RayApplication.model_validate(args)
        self._counts = counts
        self._stack = AsyncExitStack()
        self._opened: OpenApp | None = None

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        """Load the backbone and the prompts; Serve calls this once, before any request."""
        asked = self._asked
        quotas = None if self._counts is None else RayQuotas(self._counts)
        engine, name = await asyncio.to_thread(open_engine, asked.served)
        opened = await self._stack.enter_async_context(
            open_app(engine, name, Registry(asked.registry), asked.server, JsonLog(), quotas)
        )
        if quotas is not None:
            self._stack.push_async_callback(end_task, asyncio.create_task(quotas.renew()))
        self._opened = opened
        return opened.app

    async def check_health(self) -> None:
        """Serve replaces a replica that is not healthy.

        Raises:
            EngineError: the engine has failed.
        """
        engine = None if self._opened is None else self._opened.engine
        if engine is not None and engine.stats().get("failed"):
            raise EngineError("the engine has failed", where=engine.name)

    async def __del__(self) -> None:
        await self._stack.aclose()


def build(args: RayApplication) -> Any:
    """The application, as Serve takes it."""
    serve = import_ray("ray.serve")
    replica = serve.deployment(serve.ingress()(PromptReplica), **_options(args))
    values = args.model_dump(mode="json")
    if args.server.keys is None or args.server.quotas is not None:
        return replica.bind(values)
    counts = serve.deployment(
        KeyCounts,
        num_replicas=1,
        max_ongoing_requests=10_000,
        ray_actor_options={"num_cpus": 0},
    )
    return replica.bind(values, counts.bind())


def _options(args: RayApplication) -> dict[str, Any]:
    """The options of the replicas' deployment."""
    ray, limits = args.ray, args.server.limits
    options: dict[str, Any] = {
        "name": "PromptReplica",
        "ray_actor_options": {"num_cpus": ray.cpus, "num_gpus": ray.gpus},
        # What is too much is refused by the replica itself, as by any server of ours.
        "max_ongoing_requests": max_open(limits.max_requests) + _OPERATIONS,
        "graceful_shutdown_timeout_s": limits.drain,
        "max_constructor_retry_count": _STARTS,
        "logging_config": {"enable_access_log": False},
    }
    if ray.max_replicas is None:
        return options | {"num_replicas": ray.replicas}
    scaling = {
        "min_replicas": ray.replicas,
        "max_replicas": ray.most,
        "target_ongoing_requests": max(1, limits.max_requests // 8),
    }
    return options | {"autoscaling_config": scaling}
