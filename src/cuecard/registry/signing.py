"""Detached signatures: Ed25519 (RFC 8032) over a version's record, which names every byte it has.

A signature binds the prompt's files, its name and its number. It does not bind aliases: who may
write to a registry may move an alias to any version that is signed.
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
        RegistryError: no such key, or `cryptography` is not installed.
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
    """Public keys, from PEM files as `openssl pkey -pubout` writes them, as hexadecimal digits.

    Raises:
        RegistryError: a file that is no such key, or `cryptography` is not installed.
    """
    found = []
    for path in paths:
        key = _load(path, "public")
        if not isinstance(key, _ed25519.Ed25519PublicKey):
            raise _wrong_key(path, "a public Ed25519 key", type(key).__name__)
        found.append(key.public_bytes_raw().hex())
    return tuple(found)


def signature_key(name: str, sha256: str, public_key: str) -> str:
    """Where a signature lies."""
    return f"{PROMPTS}/{name}/signatures/{sha256}/{public_key}.json"


def put_signature(store: Store, name: str, sha256: str, signature: Signature) -> str:
    """Leave a signature beside the version; its key."""
    key = signature_key(name, sha256, signature.public_key)
    store.replace(key, signature.to_bytes())
    return key


def check_signed(store: Store, version: Version, trusted: Sequence[str]) -> str:
    """The first trusted key with a valid signature of the version.

    Raises:
        SignatureError: there is none.
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
        "the version's signature is wrong" if wrong else "no trusted key has signed this version",
        where=f"{store.url}, {version}",
        got="a signature that does not fit" if wrong else "no signature of a trusted key",
        expected=f"one by {' or '.join(key[:16] for key in trusted)}",
    )


def is_valid(content: bytes, sha256: str, public_key: str) -> bool:
    """Whether a stored signature is this key's, of a record with this SHA-256.

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
            "the key cannot be read", where=str(path), got=error.strerror or error
        ) from error
    except (ValueError, TypeError, _exceptions.UnsupportedAlgorithm) as error:
        raise _wrong_key(path, f"a {kind} key in PEM form, not encrypted", str(error)) from error


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
            "signatures need a package that is not installed",
            expected="cryptography",
            hint="pip install 'cuecard[sign]'",
        )
