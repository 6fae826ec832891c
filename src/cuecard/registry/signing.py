"""Detached Ed25519 signatures (RFC 8032) of a version's record, which has the digests of its files.

A signature covers the prompt's files, name and number. It does not cover aliases: anyone who may
write to a registry may move an alias to any signed version.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cuecard.errors import CuecardError, RegistryError, SignatureError
from cuecard.lazy import lazy_module
from cuecard.registry.records.schemas import MAX_DOCUMENT_BYTES, Signature, Version
from cuecard.registry.records.versions import PROMPTS
from cuecard.registry.stores.store import Store

# Imported with the first signature; listing a registry takes none.
_HAS_CRYPTOGRAPHY = find_spec("cryptography") is not None
_exceptions = lazy_module("cryptography.exceptions")
_serialization = lazy_module("cryptography.hazmat.primitives.serialization")
_ed25519 = lazy_module("cryptography.hazmat.primitives.asymmetric.ed25519")

_DOMAIN = b"cuecard version signature v1\n"
_MAX_KEY_BYTES = 1 << 16


class Signer:
    """A private key.

    Args:
        path: a PEM file, as `openssl genpkey -algorithm ed25519` writes it.

    Raises:
        RegistryError: not such a key, or `cryptography` is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        key = _load(path, "private")
        if not isinstance(key, _ed25519.Ed25519PrivateKey):
            raise _wrong_key(path, "a private Ed25519 key", type(key).__name__)
        self._key = key

    def sign(self, sha256: str) -> Signature:
        """The signature of a record with this SHA-256."""
        return Signature(
            public_key=self._key.public_key().public_bytes_raw().hex(),
            signature=self._key.sign(_message(sha256)).hex(),
        )


def read_trusted(paths: Sequence[str | Path]) -> tuple[str, ...]:
    """Public keys in hexadecimal, from PEM files as `openssl pkey -pubout` writes them.

    Raises:
        RegistryError: a file is not such a key, or `cryptography` is not installed.
    """
    found = []
    for path in paths:
        key = _load(path, "public")
        if not isinstance(key, _ed25519.Ed25519PublicKey):
            raise _wrong_key(path, "a public Ed25519 key", type(key).__name__)
        found.append(key.public_bytes_raw().hex())
    return tuple(found)


def signatures_of(name: str, sha256: str) -> str:
    """Where a version's signatures are in the store, each by its public key."""
    return f"{PROMPTS}/{name}/signatures/{sha256}"


def signature_key(name: str, sha256: str, public_key: str) -> str:
    """The key of a signature in the store."""
    return f"{signatures_of(name, sha256)}/{public_key}.json"


def put_signature(store: Store, name: str, sha256: str, signature: Signature) -> str:
    """Store a version's signature; returns its key."""
    key = signature_key(name, sha256, signature.public_key)
    store.replace(key, signature.to_bytes())
    return key


def check_signed(store: Store, version: Version, trusted: Sequence[str]) -> str:
    """The first trusted key with a valid signature of the version.

    Raises:
        SignatureError: no trusted key has.
        RegistryError: `cryptography` is not installed.
    """
    _require()
    wrong = False
    for public_key in trusted:
        found = store.read(
            signature_key(version.record.name, version.sha256, public_key), MAX_DOCUMENT_BYTES
        )
        if found is not None:
            if is_valid(found, version.sha256, public_key):
                return public_key
            wrong = True
    raise SignatureError(
        "the version's signature is invalid" if wrong else "no trusted key has signed this version",
        where=f"{store.url}, {version}",
        got="an invalid signature" if wrong else "no signature by a trusted key",
        expected=f"a signature by {' or '.join(key[:16] for key in trusted)}",
    )


def signers(store: Store, version: Version) -> list[str]:
    """The public keys of a version's valid signatures, whoever's they are.

    Raises:
        RegistryError: there are signatures, and `cryptography` is not installed.
    """
    name, sha256 = version.record.name, version.sha256
    found = []
    for file in store.names(signatures_of(name, sha256)):
        key = file.removesuffix(".json")
        content = store.read(signature_key(name, sha256, key), MAX_DOCUMENT_BYTES)
        if content is not None and is_valid(content, sha256, key):
            found.append(key)
    return found


def is_valid(content: bytes, sha256: str, public_key: str) -> bool:
    """Whether a stored signature is valid for this key and record.

    Raises:
        RegistryError: `cryptography` is not installed.
    """
    _require()
    try:
        signature = Signature.from_bytes(content, "signature")
        key = _ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signature.signature), _message(sha256))
    except (CuecardError, _exceptions.InvalidSignature, ValueError):
        return False
    return signature.public_key == public_key


def _message(sha256: str) -> bytes:
    return _DOMAIN + sha256.encode("ascii")


def _load(path: str | Path, kind: str) -> Any:
    _require()
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_KEY_BYTES)
        if kind == "private":
            return _serialization.load_pem_private_key(content, password=None)
        return _serialization.load_pem_public_key(content)
    except OSError as error:
        raise RegistryError(
            "cannot read the key", where=str(path), got=error.strerror or error
        ) from error
    except (ValueError, TypeError, _exceptions.UnsupportedAlgorithm) as error:
        raise _wrong_key(path, f"an unencrypted {kind} key in PEM format", str(error)) from error


def _wrong_key(path: str | Path, expected: str, got: str) -> RegistryError:
    return RegistryError(
        "this key cannot be used",
        where=str(path),
        got=got,
        expected=expected,
        hint="openssl genpkey -algorithm ed25519 -out key.pem; "
        "openssl pkey -in key.pem -pubout -out key.pub.pem",
    )


def _require() -> None:
    if not _HAS_CRYPTOGRAPHY:
        raise RegistryError(
            "signatures require a package that is not installed",
            expected="cryptography",
            hint="pip install 'cuecard[sign]'",
        )
