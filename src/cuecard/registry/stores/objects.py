"""A registry in an object store, through obstore: S3, Google Cloud Storage or Azure.

`create` is a conditional PUT (`If-None-Match: *`; Google's `x-goog-if-generation-match: 0`), which
exactly one writer wins. Objects appear atomically.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from cuecard.errors import CuecardError, RegistryError
from cuecard.lazy import import_library

PROTOCOLS: Mapping[str, str] = MappingProxyType(
    {
        "s3": "s3",
        "s3a": "s3",
        "gs": "gcs",
        "az": "azure",
        "azure": "azure",
        "abfs": "azure",
        "abfss": "azure",
    }
)
"""A URL's protocol -> the extra that brings what it needs."""

# obstore sends again what failed on the way, ten times within three minutes by itself; a command in
# front of a wrong address should not wait so long.
_RETRIES = 5

_VARIABLES = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION",
    "gcs": "GOOGLE_APPLICATION_CREDENTIALS",
    "azure": "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
}
# Whatever S3's settings hold beside the environment, which obstore reads by itself.
_PROFILES = {
    "AWS_CONFIG_FILE": "~/.aws/config",
    "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
}


class ObjectStore:
    """A `Store` in an object store.

    Args:
        url: its name in messages.
        store: one of `obstore.store`, with the registry's path as its prefix.
    """

    def __init__(self, url: str, store: Any) -> None:
        self._url = url.rstrip("/")
        self._store = store

    @property
    def url(self) -> str:
        return self._url

    def create(self, key: str, content: bytes) -> bool:
        with self._translating_errors(key):
            try:
                self._store.put(key, content, mode="create")
            except self._taken:
                # A PUT sent again after a lost response finds its own object.
                return bytes(self._store.get(key).bytes()) == content
            return True

    def replace(self, key: str, content: bytes) -> None:
        with self._translating_errors(key):
            self._store.put(key, content)

    def read(self, key: str, max_bytes: int) -> bytes | None:
        with self._translating_errors(key):
            try:
                found = self._store.get(key)
                size = int(found.meta["size"])
                if size <= max_bytes:
                    return bytes(found.bytes())
            except FileNotFoundError:
                return None
        raise RegistryError(
            "an object is too large",
            where=f"{self._url}/{key}",
            got=f"{size} bytes",
            expected=f"at most {max_bytes} bytes",
        )

    def names(self, folder: str) -> list[str]:
        with self._translating_errors(folder):
            found = self._store.list_with_delimiter(folder)
        paths = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in paths)

    def remove(self, key: str) -> None:
        with self._translating_errors(key):
            try:
                self._store.delete(key)
            except FileNotFoundError:
                return

    def modified(self, key: str) -> float | None:
        with self._translating_errors(key):
            try:
                return float(self._store.head(key)["last_modified"].timestamp())
            except FileNotFoundError:
                return None

    def clean(self, before: float) -> int:
        """Nothing: an unfinished PUT leaves no object."""
        return 0

    @property
    def _taken(self) -> type[Exception]:
        """What a conditional PUT fails with because the key exists."""
        error: type[Exception] = import_library("obstore.exceptions").AlreadyExistsError
        return error

    @contextmanager
    def _translating_errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # Some of obstore's errors are OSErrors, some are derived from Exception alone.
            raise RegistryError(
                "cannot read or write the registry; no object was written in part",
                where=f"{self._url}/{key}",
                got=_told(error),
                hint="check the address, the credentials and the bucket's permissions",
            ) from error


def open_object_store(url: str) -> ObjectStore:
    """The store at a URL with one of `PROTOCOLS`.

    Where it is and who asks comes from the environment, as for the clouds' own tools; for S3 also
    from `~/.aws`, if boto3 is installed.

    Raises:
        RegistryError: obstore is not installed, it cannot make a store from this, or there is no
            such profile in `~/.aws`.
    """
    protocol = urlsplit(url).scheme.lower()
    extra = PROTOCOLS[protocol]
    try:
        library = import_library("obstore.store", extra)
    except CuecardError as error:
        raise RegistryError(
            "this kind of registry requires a package that is not installed",
            where=url,
            got=error.got,
            hint=f"pip install 'cuecard[{extra}]'",
        ) from error
    # Clouds are always https; a server of one's own, such as MinIO, may be on http.
    settings: dict[str, Any] = {
        "client_options": {"allow_http": True},
        "retry_config": {"max_retries": _RETRIES},
    }
    try:
        if extra == "s3" and (provider := _profile()) is not None:
            settings["credential_provider"] = provider
        return ObjectStore(url, library.from_url(url, **settings))
    except RegistryError:
        raise
    except Exception as error:
        raise RegistryError(
            "cannot open the registry",
            where=url,
            got=_told(error),
            expected=f"the account and its credentials in the environment: {_VARIABLES[extra]}",
        ) from error


def _profile() -> Any:
    """Credentials of `~/.aws`, profiles and single sign-on among them; None without any.

    Raises:
        RegistryError: a profile is asked for, and boto3 is not there to read it.
    """
    if "AWS_ACCESS_KEY_ID" in os.environ:
        return None
    asked = os.environ.get("AWS_PROFILE")
    files = [Path(os.environ.get(name, place)).expanduser() for name, place in _PROFILES.items()]
    if not asked and not any(file.is_file() for file in files):
        return None
    if find_spec("boto3") is None:
        if not asked:
            return None
        raise RegistryError("AWS_PROFILE requires boto3", got=asked, hint="pip install boto3")
    session = import_library("boto3").Session()
    if session.get_credentials() is None:
        return None
    return import_library("obstore.auth.boto3").Boto3CredentialProvider(session)


def _told(error: Exception) -> str:
    """An error without the dump of Rust's structures that obstore puts after its sentence."""
    sentence, _, _ = str(error).partition("\n\nDebug source")
    return f"{type(error).__name__}: {sentence}"
