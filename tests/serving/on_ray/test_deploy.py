"""Two replicas on a Ray cluster of this machine: limits, promotions, a loss, an end."""

from __future__ import annotations

import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cuecard.registry import Registry
from cuecard.serving.http.auth import add_key
from support.needs_ray import needs_ray
from support.serving.process import Process, until
from support.serving.ray_cluster import Cluster, deployed, end
from support.serving.registry import TEXT, right

pytestmark = [pytest.mark.integration, needs_ray]
BODY = {"model": "reviews@production", "input": TEXT}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def cluster(place: Path, folder: Path, keys: Path) -> Iterator[Cluster]:
    key = add_key(keys, "ann")
    words = ["--keys", str(keys), "--replicas", "2", "--cpus", "0.5", "--drain", "5"]
    words += ["--max-new-tokens", "1500"]
    with deployed(place, folder, *words, key=key) as made:
        yield made


def changes(cluster: Cluster) -> list[int]:
    """How many changes of the registry each replica has seen."""
    return [len(cluster.logged(replica, "prompts")) for replica in sorted(cluster.replicas)]


def answered_by(cluster: Cluster, replica: int) -> set[str]:
    return {line["request"] for line in cluster.logged(replica, "request")}


def ask(server: Process, name: str) -> tuple[int, Any]:
    return server.call("/v1/classify", BODY, **{"X-Request-Id": name})


def test_both_replicas_answer(cluster: Cluster, backbone: Any, place: Path) -> None:
    replicas = cluster.replicas
    assert len(replicas) == 2
    label = right(backbone, place, "reviews@1").answer
    with ThreadPoolExecutor(8) as clients:
        found = [*clients.map(lambda n: ask(cluster, f"both-{n}"), range(64))]
    assert {status for status, _ in found} == {200}
    assert {answer["data"][0]["label"] for _, answer in found} == {label}
    logged = [answered_by(cluster, replica) for replica in replicas]
    assert all(names & {f"both-{n}" for n in range(64)} for names in logged)
    assert not logged[0] & logged[1]


def test_a_stream_arrives(cluster: Cluster) -> None:
    _, text = cluster.call("/v1/completions", {"model": "titles", "prompt": TEXT, "stream": True})
    lines = [line for line in text.decode().splitlines() if line]
    assert lines[-1] == "data: [DONE]" and len(lines) > 2


def test_limits_are_those_of_all_replicas(cluster: Cluster, keys: Path) -> None:
    cost = ask(cluster, "cost")[1]["usage"]["total_tokens"]
    few = add_key(keys, "bob", tokens_per_day=10 * cost, concurrent_requests=64)
    bob = Process(cluster.popen, cluster.url, cluster.log, few)
    with ThreadPoolExecutor(8) as clients:
        found = [*clients.map(lambda n: ask(bob, f"few-{n}"), range(40))]
    statuses = [status for status, _ in found]
    assert (statuses.count(200), statuses.count(429)) == (10, 30)
    codes = {answer["error"]["code"] for status, answer in found if status == 429}
    assert codes == {"rate_limit_exceeded"}
    for replica in cluster.replicas:
        assert answered_by(cluster, replica) & {f"few-{n}" for n in range(40)}
    assert cluster.call("/v1/classify", BODY)[0] == 200
    assert Process(cluster.popen, cluster.url, cluster.log, "wrong").call("/v1/models")[0] == 401


def test_an_open_request_counts_with_all_replicas_until_its_client_leaves(
    cluster: Cluster, keys: Path
) -> None:
    one = add_key(keys, "eve", concurrent_requests=1)
    eve = Process(cluster.popen, cluster.url, cluster.log, one)
    body = {"model": "tiny", "prompt": TEXT, "max_tokens": 1500, "stream": True}
    with urllib.request.urlopen(eve.request("/v1/completions", body), timeout=60) as stream:
        assert stream.readline().startswith(b"data: ")
        with ThreadPoolExecutor(4) as clients:
            found = [*clients.map(lambda n: ask(eve, f"eve-{n}"), range(16))]
        assert {status for status, _ in found} == {429}
        for replica in cluster.replicas:
            assert answered_by(cluster, replica) & {f"eve-{n}" for n in range(16)}
    until(lambda: ask(eve, "eve-last")[0] == 200)


def test_counts_that_are_lost_begin_again(cluster: Cluster, keys: Path) -> None:
    cost = ask(cluster, "cost")[1]["usage"]["total_tokens"]
    none_left = add_key(keys, "dan", tokens_per_day=cost)
    dan = Process(cluster.popen, cluster.url, cluster.log, none_left)
    assert [ask(dan, "dan")[0] for _ in range(2)] == [200, 429]
    (counting,) = cluster.counting
    cluster.counting[counting].kill()
    found = [429]
    while found[-1] != 200:
        found.append(ask(dan, "dan")[0])
    assert {*found} <= {200, 429, 503}
    assert ask(dan, "dan")[0] == 429
    assert counting not in cluster.counting


def test_a_promotion_is_seen_by_both(cluster: Cluster, place: Path) -> None:
    registry = Registry(place, who="ann@desk")
    for reference in ("reviews@2", "reviews@1"):
        before = changes(cluster)
        registry.promote(reference, "production", why="a test")
        while not all(now > then for now, then in zip(changes(cluster), before, strict=True)):
            threading.Event().wait(0.05)
        with ThreadPoolExecutor(4) as clients:
            found = [*clients.map(lambda n: cluster.call("/v1/classify", BODY), range(24))]
        assert {answer["data"][0]["version"] for _, answer in found} == {reference}


def test_a_lost_replica_takes_only_its_own_requests(cluster: Cluster) -> None:
    stop = threading.Event()
    found: dict[str, int] = {}

    def client(number: int) -> None:
        count = 0
        while not stop.is_set():
            name = f"load-{number}-{count}"
            request = cluster.request("/v1/classify", BODY, **{"X-Request-Id": name})
            try:
                with urllib.request.urlopen(request, timeout=60) as reply:
                    found[name] = reply.status
            except urllib.error.HTTPError as error:  # Serve's own, which is no JSON
                with error:
                    found[name] = error.code
            count += 1

    lost, kept = cluster.replicas
    clients = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in clients:
        thread.start()
    until(lambda: len(found) > 40)
    cluster.replicas[lost].send_signal(signal.SIGKILL)
    before = len(found)
    until(lambda: len(found) > before + 80 and len(cluster.replicas) == 2)
    (new,) = cluster.replicas.keys() - {kept}
    until(lambda: cluster.logged(new, "request"))
    stop.set()
    for thread in clients:
        thread.join()
    failed = {name for name, status in found.items() if status != 200}
    assert len(failed) <= len(clients)  # those that were open, one a client
    assert not failed & answered_by(cluster, kept)
    answers = [answered_by(cluster, replica) for replica in (lost, kept, new)]
    assert found.keys() - failed <= set.union(*answers)


def test_its_end_leaves_nothing(cluster: Cluster) -> None:
    assert end(cluster.popen) == []
    assert cluster.popen.returncode == 0
