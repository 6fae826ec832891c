from __future__ import annotations

from pathlib import Path

import pytest

from cuecard.serving.http.auth import KeyStore
from support.command_line import Call


def test_a_key_from_its_making_to_its_end(cuecard: Call, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    words = ("--prompt", "reviews@production", "--prompt", "tickets", "--requests-per-minute", 60)
    secret = cuecard("keys", "add", "shop", "--keys", file, *words).out.strip()
    ring = KeyStore(file)
    found = ring.find(secret)
    assert found is not None and found.prompts == ("reviews@production", "tickets")
    other = cuecard("keys", "add", "ann", "--keys", file, "--json").json
    assert other["name"] == "ann" and ring.find(other["key"])
    listed = cuecard("keys", "list", "--keys", file)
    assert "shop\treviews@production, tickets\t60 requests per minute\t" in listed.out
    words = ("--prompt", "tickets", "--raw", "--concurrent-requests", 4)
    free = cuecard("keys", "add", "free", "--keys", file, *words).out.strip()
    found = ring.find(free)
    assert found is not None and found.allows_raw and not found.allows("reviews")
    listed = cuecard("keys", "list", "--keys", file)
    assert "free\ttickets, raw\t4 concurrent requests\t" in listed.out
    assert "ann\t*\tno limits\t" in listed.out
    assert secret not in listed.out
    rows = cuecard("keys", "list", "--keys", file, "--json").json["keys"]
    assert [row["id"] for row in rows] == ["shop", "ann", "free"] and "sha256" not in rows[0]
    assert cuecard("keys", "revoke", "shop", "--keys", file).out == "shop revoked\n"
    assert cuecard("keys", "revoke", "ann", "--keys", file, "--json").json["revoked"] is True
    assert ring.find(secret) is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["add"], "name of the key is missing"),
        (["revoke"], "name of the key is missing"),
        (["list", "ann"], "takes no name"),
        (["revoke", "ann"], "cannot read the key file"),
        (["list"], "cannot read the key file"),
        (["add", "ann", "--tokens-per-day", "0"], "tokens-per-day"),
        (["drop", "ann"], "drop"),
    ],
)
def test_mistakes(cuecard: Call, tmp_path: Path, words: list[str], told: str) -> None:
    done = cuecard("keys", *words, "--keys", tmp_path / "keys.json")
    assert done.code == 2
    assert told in done.err
