"""The Hugging Face Hub: a prompt as a model repository, in a local folder or on the Hub itself.

A repository has the prompt's files at its root, a README.md (the model card), and a .gitattributes
that stores tensors in LFS. The Hub's local cache has repositories as
`models--owner--name/snapshots/<commit>/` with links into `blobs/`; both layouts are read. Downloads
are always of a commit: a branch is resolved once, and its commit reported.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cuecard.artifacts.files import (
    MANIFEST_FILE,
    MAX_TENSOR_BYTES,
    OWN_FILES,
    PEFT_FILE,
    publish_file,
    publish_folder,
    read_plain_file,
)
from cuecard.errors import RegistryError
from cuecard.lazy import lazy_module
from cuecard.registry.package import PromptPackage

huggingface_hub = lazy_module("huggingface_hub")

SCHEME = "hf://"
_COMMIT = re.compile(r"^[0-9a-f]{40}$")
_REPOSITORY = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$", re.ASCII)
_ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
_CARD = """\
---
{front}---

# A prompt for {backbone}

{kind}, trained by {method} with cuecard. It works with exactly one model and refuses others;
`prompt.json` has the task, the backbone's fingerprint and the metrics.

```sh
cuecard pull {source} my-prompt
cuecard inspect my-prompt --no-words
```

Digest: `{digest}`
"""


@dataclass(frozen=True, slots=True)
class HubPlace:
    """A repository on the Hub, and a revision; None: the main branch."""

    repository: str
    revision: str | None

    def __str__(self) -> str:
        return f"{SCHEME}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def parse_hub(text: str) -> HubPlace:
    """Parse hf://OWNER/NAME or hf://OWNER/NAME@REVISION.

    Raises:
        RegistryError: neither.
    """
    repository, _, revision = text.removeprefix(SCHEME).partition("@")
    if not _REPOSITORY.fullmatch(repository):
        raise RegistryError(
            "not a repository on the Hub",
            where="repository",
            got=text,
            expected=f"{SCHEME}OWNER/NAME or {SCHEME}OWNER/NAME@COMMIT",
        )
    return HubPlace(repository, revision or None)


def hub_files(package: PromptPackage, source: str) -> dict[str, bytes]:
    """A repository's files by name.

    Args:
        source: where to pull from, according to the card.
    """
    manifest = package.prompt.manifest
    front = ["library_name: " + ("peft" if PEFT_FILE in package.files else "cuecard")]
    if _REPOSITORY.fullmatch(manifest.backbone.name):
        front.append(f"base_model: {manifest.backbone.name}")
    front += ["tags:", "- cuecard", "- prompt-tuning"]
    card = _CARD.format(
        front="".join(f"{line}\n" for line in front),
        backbone=_plain(manifest.backbone.name),
        kind=package.prompt.spec.kind,
        method=_plain(manifest.method),
        source=source,
        digest=package.prompt.digest,
    )
    extras = {"README.md": card.encode(), ".gitattributes": _ATTRIBUTES}
    return {**extras, **package.files}


def write_hub_folder(
    package: PromptPackage, folder: str | Path, *, overwrite: bool = False
) -> Path:
    """Write a prompt to a folder, as a Hub repository.

    A new folder appears atomically. In an existing one (such as a clone) each file is replaced
    atomically, `prompt.json` last, and other files are kept.

    Raises:
        ArtifactError: the folder exists (without overwrite) or cannot be written.
    """
    folder = Path(folder).absolute()
    files = hub_files(package, str(folder))
    if not (overwrite and folder.is_dir()):
        publish_folder(folder, files, overwrite=False)
        return folder
    for name in sorted(files, key=lambda name: name == MANIFEST_FILE):
        publish_file(folder / name, files[name], overwrite=True)
    for name in OWN_FILES - set(files):  # of an earlier prompt with other files
        (folder / name).unlink(missing_ok=True)
    return folder


def read_hub_folder(folder: str | Path, revision: str | None = None) -> PromptPackage:
    """A prompt from a repository's folder, or from the Hub's cache of one.

    Args:
        revision: for a cache, the commit or the name of a ref; by default main.

    Raises:
        ArtifactError: not a prompt, or one that cannot be trusted.
        RegistryError: no such revision, or a link out of the cache.
    """
    folder = Path(folder)
    if not (folder / "snapshots").is_dir():
        return PromptPackage.read(folder, allow_others=True)
    snapshot = folder / "snapshots" / _cached_commit(folder, revision or "main")
    blobs = (folder / "blobs").resolve()
    files = {}
    for name in sorted(OWN_FILES):
        path = snapshot / name
        if not path.exists():
            continue
        target = path.resolve()
        if target.parent not in (blobs, snapshot.resolve()):
            raise RegistryError(
                "a link leads out of the Hub's cache", where=str(path), got=str(target)
            )
        files[name] = read_plain_file(target.parent, target.name, MAX_TENSOR_BYTES)
    return PromptPackage.from_files(files, str(snapshot))


def pull_from_hub(place: HubPlace) -> tuple[PromptPackage, str]:
    """A prompt from the Hub, and its commit.

    Raises:
        RegistryError: the Hub cannot be reached, or has no such repository or revision.
        ArtifactError: not a prompt, or one that cannot be trusted.
    """
    with tempfile.TemporaryDirectory(prefix="cuecard-") as temporary:
        commit = download(place, OWN_FILES, Path(temporary))
        return PromptPackage.read(temporary, allow_others=True), commit


def download(place: HubPlace, names: Collection[str], folder: Path) -> str:
    """Put a repository's files of these names, as far as it has them, into a folder.

    Returns:
        The commit that they are of.

    Raises:
        RegistryError: the Hub cannot be reached, or has no such repository or revision.
    """
    with _translating_errors(place):
        commit = place.revision or "main"
        if not _COMMIT.fullmatch(commit):
            commit = str(huggingface_hub.HfApi().model_info(place.repository, revision=commit).sha)
        huggingface_hub.snapshot_download(
            place.repository, revision=commit, allow_patterns=sorted(names), local_dir=folder
        )
    return commit


def push_to_hub(package: PromptPackage, place: HubPlace, *, why: str, private: bool = True) -> str:
    """Upload a prompt as one commit and return its id; a missing repository is created.

    Args:
        private: whether a new repository is private.

    Raises:
        RegistryError: the Hub cannot be reached, or rejects the upload.
    """
    with tempfile.TemporaryDirectory(prefix="cuecard-") as temporary:
        folder = Path(temporary) / "repository"
        publish_folder(folder, hub_files(package, str(place)), overwrite=False)
        api = huggingface_hub.HfApi()
        with _translating_errors(place):
            api.create_repo(place.repository, private=private, exist_ok=True)
            done = api.upload_folder(
                repo_id=place.repository,
                folder_path=folder,
                revision=place.revision,
                commit_message=why or f"Prompt {package.prompt.digest[:12]}",
                delete_patterns=sorted(OWN_FILES - set(package.files)),
            )
    return str(done.oid)


def _cached_commit(folder: Path, revision: str) -> str:
    if _COMMIT.fullmatch(revision) and (folder / "snapshots" / revision).is_dir():
        return revision
    known = {path.name for path in (folder / "refs").glob("*") if path.is_file()}
    if revision in known:
        commit = read_plain_file(folder / "refs", revision, 100).decode("ascii", "replace").strip()
        if _COMMIT.fullmatch(commit):
            return commit
    raise RegistryError(
        "the Hub's cache has no such revision",
        where=str(folder),
        got=revision,
        expected=", ".join(sorted(known)) or "a commit under snapshots",
    )


@contextmanager
def _translating_errors(place: HubPlace) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # The Hub's errors, its HTTP client's and the system's have no common class.
        first = str(error).splitlines()[0] if str(error) else ""
        raise RegistryError(
            "the request to the Hub failed",
            where=str(place),
            got=f"{type(error).__name__}: {first}",
            hint="check the name, the network and your login (`hf auth login`)",
        ) from error


def _plain(text: str) -> str:
    """A prompt's text, safe in a line of Markdown."""
    return re.sub(r"[^\w./ -]", "_", text, flags=re.ASCII)[:100]
