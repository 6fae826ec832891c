from __future__ import annotations

import socket
import sys

import pytest

from cuecard.errors import ConfigError
from cuecard.ray_cluster import import_ray, ray_cluster
from support.needs_ray import needs_ray


def test_without_ray_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError) as refused:
        import_ray()
    assert refused.value.expected == "pip install 'cuecard[ray]'"


@needs_ray
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("by_variable", [False, True])
def test_where_nothing_listens(monkeypatch: pytest.MonkeyPatch, by_variable: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    if by_variable:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with (
        pytest.raises(ConfigError, match="cannot connect"),
        ray_cluster(None if by_variable else address, 1),
    ):
        pass
    assert not import_ray().is_initialized()
