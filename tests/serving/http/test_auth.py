from __future__ import annotations

import json
from pathlib import Path

import pytest

from cuecard.errors import ConfigError
from cuecard.serving.http.auth import APIKey, KeyStore, add_key, read_keys, revoke_key


def test_a_key_is_found_by_itself_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    one, two = add_key(file, "ann"), add_key(file, "bob")
    keys = KeyStore(file)
    for secret, name in ((one, "ann"), (two, "bob")):
        found = keys.find(secret)
        assert found is not None and found.id == name
    assert keys.find(one[:-1]) is None
    assert keys.find("") is None
    assert keys.find("\ud800") is None


def test_the_file_has_no_key_and_is_its_owners(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "keys.json"
    secret = add_key(file, "ann", prompts=["reviews"], tokens_per_day=5)
    assert secret not in file.read_text()
    assert secret.removeprefix("cue_") not in file.read_text()
    assert len(secret) > 40
    assert file.stat().st_mode & 0o077 == 0
    assert {entry.name for entry in file.parent.iterdir()} <= {"keys.json", ".keys.json.lock"}


def test_keys_change_while_they_are_used(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    old = add_key(file, "ann")
    keys = KeyStore(file)
    new = add_key(file, "ann-2")
    assert keys.find(new) is not None and keys.find(old) is not None
    revoke_key(file, "ann")
    assert keys.find(old) is None
    assert keys.find(new) is not None


def test_a_mounted_secret_changes_as_a_whole(tmp_path: Path) -> None:
    """As Kubernetes does it: keys.json -> ..data/keys.json, and ..data moves to another folder."""
    secrets = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        secrets.append(add_key(tmp_path / name / "keys.json", "ann"))
    data, file = tmp_path / "..data", tmp_path / "keys.json"
    data.symlink_to("first")
    file.symlink_to("..data/keys.json")
    keys = KeyStore(file)
    assert keys.find(secrets[0]) is not None and keys.find(secrets[1]) is None
    (tmp_path / "..data_tmp").symlink_to("second")
    (tmp_path / "..data_tmp").replace(data)
    assert keys.find(secrets[0]) is None and keys.find(secrets[1]) is not None


@pytest.mark.parametrize("harm", ["", "{", '{"keys": [{"id": "ann"}]}', None])
def test_a_broken_file_leaves_the_keys_that_were(tmp_path: Path, harm: str | None) -> None:
    file = tmp_path / "keys.json"
    secret = add_key(file, "ann")
    keys = KeyStore(file)
    whole = file.read_text()
    if harm is None:
        file.unlink()
    else:
        file.write_text(harm)
    assert keys.find(secret) is not None
    assert keys.problem is not None
    with pytest.raises(ConfigError):
        KeyStore(file)
    file.write_text(whole)
    assert keys.find(secret) is not None
    assert keys.problem is None


@pytest.mark.parametrize(
    ("prompts", "model", "allowed"),
    [
        (["*"], "anything@3", True),
        (["reviews"], "reviews", True),
        (["reviews"], "reviews@production", True),
        (["reviews"], "reviews@7", True),
        (["reviews"], "reviews2", False),
        (["reviews"], "tickets", False),
        (["reviews@production"], "reviews@production", True),
        (["reviews@production"], "reviews", False),
        (["reviews@production"], "reviews@2", False),
    ],
)
def test_scopes(prompts: list[str], model: str, allowed: bool) -> None:
    key = APIKey(id="ann", sha256="0" * 64, prompts=tuple(prompts))
    assert key.allows(model) is allowed


def test_names_are_checked_and_unique(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    with pytest.raises(ConfigError, match="this key is not valid"):
        add_key(file, "Ann Smith")
    with pytest.raises(ConfigError, match="this key is not valid"):
        add_key(file, "ann", tokens_per_day=0)
    add_key(file, "ann")
    with pytest.raises(ConfigError, match="a key of this name exists"):
        add_key(file, "ann")
    with pytest.raises(ConfigError, match="no such key"):
        revoke_key(file, "bob")
    assert [key.id for key in read_keys(file)] == ["ann"]


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    add_key(file, "ann")
    content = json.loads(file.read_text())
    content["keys"][0]["request_per_minute"] = 3
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="request_per_minute"):
        read_keys(file)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write the key file"):
        add_key(tmp_path / "file" / "keys.json", "ann")
