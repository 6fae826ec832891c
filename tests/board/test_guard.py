from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from board.conftest import MakeClient
from cuecard.board.app import STATIC
from cuecard.serving.http.auth import add_key, revoke_key

# What the npm registry has of htmx.org 4.0.1 and of uplot 1.6.32.
VENDORED = {
    "htmx.min.js": "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130",
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}


def test_vendored_files_are_the_published_ones() -> None:
    folder = STATIC / "vendor"
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    licences = {"htmx.LICENSE", "uPlot.LICENSE"}
    assert {name: digest for name, digest in found.items() if name not in licences} == VENDORED
    assert licences <= found.keys()


def test_what_a_browser_may_do(client: MakeClient, runs: Path) -> None:
    board = client(runs)
    for path in ("/", "/runs/reviews", "/missing", "/static/board.js", "/?format=json"):
        headers = board.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self';"), path
        assert headers["x-content-type-options"] == "nosniff", path
    page = board.get("/runs/reviews").text
    assert " style=" not in page and "<style" not in page and " onclick" not in page
    assert page.count("<script") == page.count('<script src="/static/')
    for name in VENDORED:
        assert board.get(f"/static/{name}").status_code == 200
    for name in ("..%2fapp.py", "htmx.LICENSE", "vendor"):
        assert board.get(f"/static/{name}").status_code == 404


def test_other_names_for_this_machine_are_refused(client: MakeClient, runs: Path) -> None:
    board = client(runs)
    for host in ("evil.example", "127.0.0.1.evil.example", "", "[::1"):
        assert board.get("/", headers={"host": host}).status_code == 421
    for host in ("localhost:8100", "127.0.0.1", "[::1]:8100"):
        assert board.get("/", headers={"host": host}).status_code == 200


def test_a_page_is_sent_once(client: MakeClient, runs: Path) -> None:
    board = client(runs)
    tag = board.get("/runs/reviews").headers["etag"]
    again = board.get("/runs/reviews", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    with (runs / "reviews" / "report.json").open("a") as report:
        report.write(" \n")  # the same facts: the same page
    assert board.get("/runs/reviews", headers={"if-none-match": tag}).status_code == 304


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_opens_the_board(client: MakeClient, runs: Path, keys: Path) -> None:
    secret, other = add_key(keys, "team"), add_key(keys, "shop", prompts=["reviews"])
    board = client(runs, keys=keys, host="0.0.0.0")
    browser = {"accept": "text/html"}
    asked = board.get("/runs/reviews", headers=browser, follow_redirects=False)
    assert (asked.status_code, asked.headers["location"]) == (303, "/login?next=/runs/reviews")
    assert board.get("/", headers={"accept": "*/*"}).status_code == 401
    for wrong in (other, "cue_wrong", "ü"):
        assert board.post("/login", data={"key": wrong}).status_code == 403
    for header, status in ((f"Bearer {secret}", 200), (f"Bearer {other}", 401), ("Bearer", 401)):
        assert board.get("/", headers={"authorization": header}).status_code == status
    done = board.post(
        "/login", data={"key": secret, "next": "/runs/reviews"}, follow_redirects=False
    )
    assert done.headers["location"] == "/runs/reviews"
    cookie = done.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and secret not in cookie
    assert board.get("/runs/reviews").status_code == 200
    revoke_key(keys, "team")
    assert board.get("/", headers={"accept": "*/*"}).status_code == 401


@pytest.mark.parametrize("place", ["https://evil.example", "//evil.example", "/\\evil", "x"])
def test_signing_in_leads_nowhere_else(
    place: str, client: MakeClient, runs: Path, keys: Path
) -> None:
    secret = add_key(keys, "team")
    board = client(runs, keys=keys)
    done = board.post("/login", data={"key": secret, "next": place}, follow_redirects=False)
    assert done.headers["location"] == "/"


def test_signed_out(client: MakeClient, runs: Path, keys: Path) -> None:
    secret = add_key(keys, "team")
    board = client(runs, keys=keys)
    board.post("/login", data={"key": secret})
    assert board.get("/").status_code == 200
    cookie = dict(board.cookies)
    board.post("/logout")
    board.cookies.update(cookie)  # a copy of it opens nothing either
    assert board.get("/", headers={"accept": "*/*"}).status_code == 401


def test_forms_of_other_sites_are_refused(client: MakeClient, runs: Path) -> None:
    board = client(runs)
    for headers in (
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        assert board.post("/login", data={"key": "x"}, headers=headers).status_code == 403
    near = {"origin": "http://127.0.0.1", "sec-fetch-site": "same-origin"}
    taken = board.post("/login", data={"key": "x"}, headers=near, follow_redirects=False)
    assert taken.status_code == 303
