"""Signatures: made by our key, checked with openssl's own files, refused when anything differs."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from cuecard.errors import RegistryError, SignatureError
from cuecard.registry import Registry, Signer, read_trusted, signing
from cuecard.registry.verify import verify
from support.signing_keys import save_keys


def test_signed_and_checked(registry: Registry, prompts: list[Path], tmp_path: Path) -> None:
    private, public = save_keys(tmp_path, "release")
    _, other = save_keys(tmp_path, "other")
    registry.push(prompts[0], "reviews", signer=Signer(private))
    registry.push(prompts[1], "reviews")
    trusted = read_trusted([other, public])
    assert registry.read("reviews@1", trusted).files
    with pytest.raises(SignatureError, match="no trusted key has signed"):
        registry.read("reviews@1", read_trusted([other]))
    with pytest.raises(SignatureError, match="no trusted key has signed"):
        registry.read("reviews@2", trusted)
    (problem,) = verify(registry, trusted=trusted).problems
    assert "reviews@2" in str(problem.where)
    # The same content pushed again with a key is signed from then on.
    assert not registry.push(prompts[1], "reviews", signer=Signer(private)).new
    report = verify(registry, trusted=trusted)
    assert (report.problems, report.signatures) == ([], 2)


def test_a_signature_fits_one_version_alone(
    disk: Registry, prompts: list[Path], tmp_path: Path
) -> None:
    private, public = save_keys(tmp_path, "release")
    trusted = read_trusted([public])
    signed = disk.push(prompts[0], "reviews", signer=Signer(private)).version
    for name, folder in (("films", prompts[0]), ("reviews", prompts[1])):
        version = disk.push(folder, name).version  # the same bytes, other bytes
        stolen = signing.signature_key("reviews", signed.sha256, trusted[0])
        content = disk.store.read(stolen, 1 << 16)
        assert content is not None
        disk.store.replace(signing.signature_key(name, version.sha256, trusted[0]), content)
        with pytest.raises(SignatureError, match="signature is invalid"):
            disk.read(version, trusted)
    assert len(verify(disk).problems) == 2
    disk.store.replace(stolen, b"{}")
    with pytest.raises(SignatureError, match="signature is invalid"):
        disk.read("reviews@1", trusted)


def test_an_altered_record_is_not_signed(
    disk: Registry, prompts: list[Path], tmp_path: Path
) -> None:
    private, public = save_keys(tmp_path, "release")
    disk.push(prompts[0], "reviews", signer=Signer(private), why="honest")
    path = Path(disk.store.url, "prompts/reviews/versions/00000001.json")
    path.write_bytes(path.read_bytes().replace(b"honest", b"forged"))
    assert disk.read("reviews@1").files  # still a version, but
    with pytest.raises(SignatureError):
        disk.read("reviews@1", read_trusted([public]))


def test_the_loser_of_a_number_leaves_no_signature(
    disk: Registry, prompts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, _ = save_keys(tmp_path, "release")
    sign = Signer.sign
    other = Registry(disk.store)

    def late(self: Signer, sha256: str) -> signing.Signature:
        monkeypatch.setattr(Signer, "sign", sign)
        other.push(prompts[1], "reviews")  # takes number 1 meanwhile
        return sign(self, sha256)

    monkeypatch.setattr(Signer, "sign", late)
    version = disk.push(prompts[0], "reviews", signer=Signer(private)).version
    assert version.number == 2
    folder = "prompts/reviews/signatures"
    left = [name for name in disk.store.names(folder) if disk.store.names(f"{folder}/{name}")]
    assert left == [version.sha256]


def test_keys_that_cannot_be_used(tmp_path: Path) -> None:
    private, public = save_keys(tmp_path, "release")
    rsa = tmp_path / "rsa.pem"
    rsa.write_bytes(
        generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    for path in (public, rsa, locked):
        with pytest.raises(RegistryError, match="this key cannot be used"):
            Signer(path)
    with pytest.raises(RegistryError, match="this key cannot be used"):
        read_trusted([private])
    with pytest.raises(RegistryError, match="cannot read the key"):
        read_trusted([tmp_path / "nowhere.pem"])


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = save_keys(tmp_path, "release")
    monkeypatch.setattr(signing, "_HAS_CRYPTOGRAPHY", False)
    for use in (lambda: Signer(private), lambda: read_trusted([public])):
        with pytest.raises(RegistryError, match="not installed") as refused:
            use()
        assert refused.value.hint == "pip install 'cuecard[sign]'"
    assert read_trusted([]) == ()
