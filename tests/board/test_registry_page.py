from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from board.conftest import MakeClient
from cuecard.registry import Registry, Signer
from cuecard.serving.http.auth import add_key
from support.signing_keys import save_keys

FIXTURE = Path(__file__).parents[1] / "compatibility" / "fixtures" / "registry"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """reviews@1, and @2 as production; titles@1."""
    shutil.copytree(FIXTURE, tmp_path / "prompts")
    return Registry(tmp_path / "prompts")


def token(board: Any) -> str:
    found = re.search(r'name="token" value="([0-9a-f]+)"', board.get("/registry/reviews").text)
    assert found is not None
    return found[1]


def test_no_registry_yet(client: MakeClient, tmp_path: Path) -> None:
    page = client(tmp_path).get("/registry")
    assert page.status_code == 200 and "no registry here" in page.text


def test_names_versions_and_aliases(client: MakeClient, tmp_path: Path, registry: Registry) -> None:
    board = client(tmp_path)
    found = {p["name"]: p for p in board.get("/registry?format=json").json()["prompts"]}
    assert found["reviews"]["versions"] == 2 and found["reviews"]["newest"]["number"] == 2
    assert found["reviews"]["aliases"] == {"production": 2} and found["titles"]["aliases"] == {}
    assert "production → 2" in board.get("/registry").text
    told = board.get("/registry/reviews?format=json").json()
    assert [(v["number"], v["aliases"]) for v in told["versions"]] == [(2, ["production"]), (1, [])]
    assert told["versions"][0]["metrics"]["test.accuracy"] == 0.25
    assert [(e["action"], e["from"], e["to"]) for e in told["log"]["production"]] == [
        ("promote", 1, 2),
        ("promote", None, 1),
    ]
    for name, status in (("nothing", 404), ("NO", 400)):
        assert board.get(f"/registry/{name}").status_code == status


def test_rolled_back_and_promoted(client: MakeClient, tmp_path: Path, registry: Registry) -> None:
    board = client(tmp_path)
    why = "<script>alert(1)</script>\x1b too long"
    sent = {"token": token(board), "alias": "production", "why": why}
    page = board.post("/registry/reviews/rollback", data=sent)
    assert page.status_code == 200 and registry.aliases("reviews") == {"production": 1}
    assert "&lt;script&gt;alert(1)" in page.text and "<script>alert" not in page.text
    assert registry.log("reviews", "production")[-1].why == why
    sent |= {"version": "2", "why": "better"}
    assert board.post("/registry/reviews/promote", data=sent).status_code == 200
    event = registry.log("reviews", "production")[-1]
    assert (event.after, event.why) == (2, "better")
    assert "better" in board.get("/registry/reviews").text


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"why": ""}, "a reason is needed"),
        ({"why": "x" * 501}, "a reason is needed"),
        ({"version": "7"}, "7"),
        ({"version": "x"}, "number"),
        ({"version": ""}, "number"),
        ({"version": "9" * 5_000}, "number"),
        ({"alias": "No Alias"}, "alias"),
        ({"alias": "7"}, "alias"),
        ({"metric": "accuracy", "least": "0.9"}, "accuracy"),
        ({"metric": "accuracy", "least": ""}, "metric and a number"),
        ({"metric": "", "least": "0.9"}, "metric and a number"),
        ({"metric": "nonsense", "least": "0.1"}, "nonsense"),
    ],
)
def test_what_is_refused(
    sent: dict[str, str], said: str, client: MakeClient, tmp_path: Path, registry: Registry
) -> None:
    board = client(tmp_path)
    usual = {"token": token(board), "version": "1", "alias": "production", "why": "so"}
    page = board.post("/registry/reviews/promote", data=usual | sent, follow_redirects=False)
    assert page.status_code == 400 and said in page.text.lower()
    assert registry.aliases("reviews") == {"production": 2}
    assert len(registry.log("reviews", "production")) == 2


def test_nothing_to_roll_back_to(client: MakeClient, tmp_path: Path, registry: Registry) -> None:
    board = client(tmp_path)
    sent = {"token": token(board), "alias": "production", "why": "so"}
    board.post("/registry/reviews/rollback", data=sent)
    page = board.post("/registry/reviews/rollback", data=sent)
    assert page.status_code == 400 and "nothing to roll back to" in page.text.lower()


def test_signatures_are_counted(client: MakeClient, tmp_path: Path, registry: Registry) -> None:
    private, _ = save_keys(tmp_path, "ann")
    package = registry.read("reviews@2")
    registry.push(package, "reviews", signer=Signer(private))
    versions = client(tmp_path).get("/registry/reviews?format=json").json()["versions"]
    assert [version["signed"] for version in versions] == ["1", "none"]


def test_who_did_it(client: MakeClient, tmp_path: Path, registry: Registry) -> None:
    keys = tmp_path / "keys.json"
    secret = add_key(keys, "ops")
    board = client(tmp_path, keys=keys)
    board.post("/login", data={"key": secret})
    sent = {"token": token(board), "alias": "production", "why": "so"}
    assert board.post("/registry/reviews/rollback", data=sent).status_code == 200
    assert registry.log("reviews", "production")[-1].by == "ops on the board"
    # Another browser's token is none of this one's.
    other = client(tmp_path, keys=keys)
    other.post("/login", data={"key": secret})
    assert other.post("/registry/reviews/rollback", data=sent).status_code == 403
