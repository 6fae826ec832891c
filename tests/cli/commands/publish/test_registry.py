"""`cuecard push, list, show, promote, rollback, pull, delete, verify, gc`, as a user types them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import cuecard as library
from cuecard.registry import Registry
from support.command_line import Call, save_rows
from support.data.reviews import reviews
from support.signing_keys import save_keys


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry of its own, by the environment, and a cache for pulled versions."""
    monkeypatch.setenv("CUECARD_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("CUECARD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "registry"


@pytest.fixture
def second(run: Path, backbone: Path, tmp_path: Path) -> Path:
    """Another prompt for the same task: the first one's with other metrics."""
    prompt = library.Prompt.load(run / "prompt")
    worse = {"test": {"rows": 12, "accuracy": 0.25}}
    return prompt.with_metrics(worse).save(tmp_path / "second")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    found = [{"text": r.fields["text"], "label": str(r.target)} for r in reviews(40)]
    return save_rows(tmp_path / "rows.csv", found)


def test_the_whole_way(cuecard: Call, run: Path, second: Path, place: Path, tmp_path: Path) -> None:
    assert cuecard("push", run, "reviews").out == f"reviews@1  new  {place}\n"
    assert "there already" in cuecard("push", run, "reviews").out
    pushed = cuecard("push", second, "reviews", "--why", "more rows", "--json").json
    assert (pushed["version"], pushed["new"]) == ("reviews@2", True)
    assert cuecard("promote", "reviews@1", "production").out == "reviews@production -> reviews@1\n"
    moved = cuecard("promote", "reviews@2", "production", "--why", "it is better").out
    assert moved == "reviews@production -> reviews@2, previously reviews@1\n"

    listed = cuecard("list").out
    assert "reviews@2" in listed and "production -> 2" in listed
    (entry,) = cuecard("list", "--json").json["prompts"]
    assert entry["versions"] == 2 and entry["aliases"] == {"production": 2}

    shown = cuecard("show", "reviews").out
    assert "more rows" in shown and "it is better" in shown
    log = cuecard("show", "reviews", "--json").json["log"]["production"]
    assert [(e["from"], e["to"], e["action"]) for e in log] == [
        (None, 1, "promote"),
        (1, 2, "promote"),
    ]
    one = cuecard("show", "reviews@production", "--json").json
    assert one["version"] == "reviews@2" and one["metrics"]["test"]["accuracy"] == 0.25
    assert one["files"]["prompt.json"]["sha256"] in cuecard("show", "reviews@2").out

    back = cuecard("rollback", "reviews", "production", "--why", "it was not")
    assert back.out == "reviews@production -> reviews@1, previously reviews@2\n"
    pulled = tmp_path / "pulled"
    assert cuecard("pull", "reviews@production", pulled).out == f"{pulled}  (reviews@1)\n"
    assert library.Prompt.load(pulled).digest == library.Prompt.load(run / "prompt").digest

    assert cuecard("delete", "reviews@2", "--why", "worse").code == 0
    assert "deleted" in cuecard("show", "reviews").out
    assert cuecard("gc").out.startswith("removed 0 blobs")
    assert cuecard("gc", "--grace", "0", "--dry-run").out.startswith("would remove 1 blob and")
    assert len(cuecard("gc", "--grace", "0", "--json").json["blobs"]) == 1
    checked = cuecard("verify")
    assert checked.code == 0 and "1 prompt, 1 version, 1 alias with 3 moves" in checked.out


def test_a_version_instead_of_a_folder(
    cuecard: Call, run: Path, backbone: Path, rows: Path, tmp_path: Path
) -> None:
    cuecard("push", run, "reviews")
    cuecard("promote", "reviews@1", "production")
    version = ("reviews@production", "--backbone", backbone)
    there = cuecard("predict", run, "good fine").out
    for _ in range(2):  # the second time from the cache
        assert cuecard("predict", *version[:1], "good fine", *version[1:]).out == there
    cached = next((tmp_path / "cache" / "versions").glob("[0-9a-f]*"))
    (cached / "prompt.json").write_text("{}")  # a damaged copy is made anew
    scored = cuecard("eval", version[0], rows, *version[1:], "--json").json
    assert scored["rows"] == 40 and scored["digest"] == library.Prompt.load(run / "prompt").digest
    assert cuecard("inspect", "reviews@latest", "--no-words", "--json").json["vectors"] == 4
    assert cuecard("export", "reviews@1", tmp_path / "r.npy", "--form", "npy").code == 0
    assert cuecard("push", "reviews@1", "films").out.startswith("films@1  new")


def test_gates(
    cuecard: Call, run: Path, second: Path, backbone: Path, rows: Path, place: Path
) -> None:
    cuecard("push", run, "reviews")
    cuecard("push", second, "reviews")
    refused = cuecard("promote", "reviews@2", "production", "--min", "accuracy=0.3")
    assert refused.code == 2 and "accuracy 0.2500" in refused.err and "at least 0.3" in refused.err
    measured = ("--not-worse-on", rows, "--backbone", backbone)
    first = cuecard("promote", "reviews@1", "production", "--min", "accuracy=0", *measured)
    assert first.code == 0, first.err
    done = cuecard("promote", "reviews@2", "production", *measured, "--margin", 0, "--json").json
    assert done["evidence"]["ci95"] == [0.0, 0.0]  # the same vectors give the same answers
    assert done["evidence"]["rows"] == 40
    assert Registry(place).log("reviews", "production")[-1].evidence == done["evidence"]
    assert cuecard("promote", "reviews@1", "production", "--min", "accuracy=high").code == 2
    alone = cuecard("promote", "reviews@1", "production", "--text-field", "review")
    assert (
        alone.code == 2 and "no rows for this option" in alone.err and "--text-field" in alone.err
    )


def test_signatures(cuecard: Call, run: Path, second: Path, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    private, public = tmp_path / "key.pem", tmp_path / "key.pub.pem"
    for words in (
        ("genpkey", "-algorithm", "ed25519", "-out", private),
        ("pkey", "-in", private, "-pubout", "-out", public),
    ):
        subprocess.run([openssl, *words], check=True, capture_output=True)
    cuecard("push", run, "reviews", "--sign-key", private)
    cuecard("push", second, "reviews")
    assert cuecard("pull", "reviews@1", tmp_path / "one", "--trust", public).code == 0
    refused = cuecard("pull", "reviews@2", tmp_path / "two", "--trust", public)
    assert refused.code == 2 and "no trusted key has signed" in refused.err
    assert not (tmp_path / "two").exists()
    assert cuecard("promote", "reviews@2", "production", "--trust", public).code == 2
    wrong = cuecard("verify", "--trust", public, "--json")
    assert wrong.code == 2 and len(wrong.json["problems"]) == 1
    assert cuecard("verify", "reviews").code == 0


def test_the_hubs_layout(cuecard: Call, run: Path, tmp_path: Path) -> None:
    cuecard("push", run, "reviews")
    hub = tmp_path / "hub"
    assert cuecard("push", "reviews@1", hub).out == f"{hub}\n"
    pulled = cuecard("pull", hub, tmp_path / "pulled", "--json").json
    assert pulled["digest"] == library.Prompt.load(run / "prompt").digest
    for words in (("push", run, "hf://ann/reviews"), ("pull", "hf://ann/reviews", tmp_path / "x")):
        refused = cuecard(*words)  # the tests are offline
        assert refused.code == 2 and "the request to the Hub failed" in refused.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("list",), "there is no registry here"),
        (("gc",), "there is no registry here"),
        (("gc", "--grace", "soon"), "not a duration"),
        (("show", "reviews"), "no such prompt"),
        (("show", "Reviews"), "not a valid prompt name"),
        (("pull", "reviews@1", "x"), "no such prompt"),
        (("pull", "reviews", "x"), "did you mean reviews@latest?"),
        (("promote", "reviews@1", "production"), "no such prompt"),
        (("rollback", "reviews", "production", "--why", "x"), "no such alias"),
        (("delete", "reviews@latest"), "latest is not an alias"),
        (("predict", "reviews@production", "text"), "there is no registry here"),
        (("list", "--registry", "nowhere://x"), "an unknown kind of registry"),
        (("pull", "./x", "y", "--trust", "k.pem"), "only versions in a registry are signed"),
    ],
)
def test_mistakes(
    cuecard: Call,
    words: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cuecard(*words)
    assert done.code == 2 and message in done.err
    assert done.out == "" and "Traceback" not in done.err


def test_verify_tells_what_is_wrong(cuecard: Call, run: Path, place: Path) -> None:
    cuecard("push", run, "reviews")
    blob = next((place / "blobs" / "sha256").iterdir())
    blob.write_bytes(blob.read_bytes()[:-1])
    done = cuecard("verify")
    assert done.code == 2 and f"{blob}" in done.err and "truncated" in done.err


def test_what_is_checked_is_what_is_promoted(
    cuecard: Call,
    run: Path,
    second: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A push that lands between the check of the signature and the move changes nothing."""
    private, public = save_keys(tmp_path, "release")
    cuecard("push", run, "reviews", "--sign-key", private)
    resolve = Registry.resolve

    def then_push(self: Registry, reference: str) -> object:
        found = resolve(self, reference)
        self.push(second, "reviews")  # unsigned
        return found

    monkeypatch.setattr(Registry, "resolve", then_push)
    moved = cuecard("promote", "reviews@latest", "production", "--trust", public, "--json").json
    assert moved["to"] == 1
