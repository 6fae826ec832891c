"""Put an application on a Ray cluster."""

from __future__ import annotations

import logging
import re
import signal
import threading
from collections.abc import Callable
from typing import Any

from cuecard.errors import EngineError
from cuecard.names import check_backbone_name
from cuecard.ray_cluster import import_ray, ray_cluster
from cuecard.registry import Registry
from cuecard.serving.app_lifetime import check_app
from cuecard.serving.http.listening import bind, url_of
from cuecard.serving.on_ray.application import build
from cuecard.serving.on_ray.settings import RayApplication
from cuecard.serving.settings import ServerSettings


def check_application(application: RayApplication) -> None:
    """Find what would keep every replica from starting.

    Raises:
        BackboneError: nothing of the backbone's name.
        ConfigError: as `check_app` and `ServedBackbone.check`.
        RegistryError: as `check_app`.
    """
    application.served.check()
    check_app(application.server, Registry(application.registry))
    check_backbone_name(application.served.backbone)


def deploy(
    application: RayApplication,
    name: str,
    on_ready: Callable[[str, bool], None],
    address: str | None = None,
) -> None:
    """Deploy on a cluster and return; or on one of this machine, until SIGTERM or SIGINT.

    An application of the same name is replaced, a replica after the other.

    Args:
        on_ready: called once all replicas are there, with the URL, and whether the cluster was
            started for this and ends with it.
        address: the cluster's; see `ray_cluster`.

    Raises:
        ConfigError: see `check_application` and `ray_cluster`, or an address that cannot be bound.
        RegistryError: see `check_application`.
        EngineError: the replicas do not start.
    """
    check_application(application)
    wanted = application.ray.cpus * application.ray.most
    with ray_cluster(address, wanted) as started:
        host, port, url = _place(application.server, started)
        serve = import_ray("ray.serve")
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(http_options={"host": host, "port": port})
        try:
            serve.run(build(application), name=name, route_prefix="/")
        except RuntimeError as error:
            raise EngineError(
                "the replicas do not start", where=name, got=_reason(serve, name) or str(error)
            ) from error
        on_ready(url, started)
        if started:
            _wait_for_signal()
            serve.shutdown()


def _place(server: ServerSettings, started: bool) -> tuple[str, int, str]:
    """Where Serve is to listen, and as a URL: it takes no port 0, and ignores one that is taken.

    Raises:
        ConfigError: the address cannot be bound, on a cluster that was started here.
    """
    if not started:
        return server.host, server.port, f"http://{server.host}:{server.port}"
    with bind(server.host, server.port) as listener:
        return server.host, listener.getsockname()[1], url_of(listener)


def _reason(serve: Any, name: str) -> str:
    """What a replica failed by, in the last words of its traceback."""
    deployments = serve.status().applications[name].deployments.values()
    lines = [line.strip() for each in deployments for line in each.message.splitlines()]
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return next(reversed(errors), "")


def _wait_for_signal() -> None:
    """Return at SIGTERM or SIGINT."""
    ended = threading.Event()
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: ended.set()) for number in signals]
    try:
        ended.wait()
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
