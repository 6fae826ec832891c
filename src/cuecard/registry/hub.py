"""The Hugging Face Hub: a prompt as a model repository, in a local folder or on the Hub itself.

A repository holds the prompt's files at its root, beside a README.md (the model card) and a
.gitattributes that puts tensors into large-file storage. The Hub's own cache on a disk keeps
repositories as `models--owner--name/snapshots/<commit>/`, with links into `blobs/` beside it; both
are read. From the Hub itself only a commit is taken: a branch is looked up once, and its commit
told.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
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

{kind}, learnt by {method} with cuecard. It fits exactly one model and refuses others;
`prompt.json` has the task, the backbone's fingerprint and what was measured.

```sh
cuecard pull {source} my-prompt
cuecard inspect my-prompt --no-words
```

Digest: `{digest}`
"""


@dataclass(frozen=True, slots=True)
class HubPlace:
    """A repository on the Hub and a revision in it; None: the main branch."""

    repository: str
    revision: str | None

    def __str__(self) -> str:
        return f"{SCHEME}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def parse_hub(text: str) -> HubPlace:
    """hf://OWNER/NAME or hf://OWNER/NAME@REVISION.

    Raises:
        RegistryError: another form.
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
        source: what to write into the card as the place to pull from.
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
    """Lay a prompt out as a repository of the Hub, in a folder.

    A new folder appears in one step. In one that exists (a clone, say) each file is replaced whole,
    `prompt.json` last, and others are left alone.

    Raises:
        ArtifactError: the folder is taken (without overwrite) or cannot be written.
    """
    folder = Path(folder).absolute()
    files = hub_files(package, str(folder))
    if not (overwrite and folder.is_dir()):
        publish_folder(folder, files, overwrite=False)
        return folder
    for name in sorted(files, key=lambda name: name == MANIFEST_FILE):
        publish_file(folder / name, files[name], overwrite=True)
    for name in OWN_FILES - set(files):  # of a prompt of another form that lay here before
        (folder / name).unlink(missing_ok=True)
    return folder


def read_hub_folder(folder: str | Path, revision: str | None = None) -> PromptPackage:
    """A prompt from a folder in the Hub's layout: a repository's files, or the Hub's cache of one.

    Args:
        revision: for a cache, the commit or a ref's name; main by default.

    Raises:
        ArtifactError: no prompt there, or one that cannot be trusted.
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
    """A prompt from the Hub, and the commit that it was read from.

    Raises:
        RegistryError: the Hub cannot be reached, or has no such thing.
        ArtifactError: no prompt there, or one that cannot be trusted.
    """
    with tempfile.TemporaryDirectory(prefix="cuecard-") as room:
        with _telling(place):
            commit = place.revision or "main"
            if not _COMMIT.fullmatch(commit):
                commit = str(
                    huggingface_hub.HfApi().model_info(place.repository, revision=commit).sha
                )
            huggingface_hub.snapshot_download(
                place.repository,
                revision=commit,
                allow_patterns=sorted(OWN_FILES),
                local_dir=room,
            )
        return PromptPackage.read(room, allow_others=True), commit


def push_to_hub(package: PromptPackage, place: HubPlace, *, why: str, private: bool = True) -> str:
    """Upload a prompt as one commit; its id. A repository that does not exist is made.

    Args:
        private: whether a new one is.

    Raises:
        RegistryError: the Hub cannot be reached, or does not allow it.
    """
    with tempfile.TemporaryDirectory(prefix="cuecard-") as room:
        folder = Path(room) / "repository"
        publish_folder(folder, hub_files(package, str(place)), overwrite=False)
        api = huggingface_hub.HfApi()
        with _telling(place):
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
def _telling(place: HubPlace) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Its own errors, its HTTP client's, the system's: they have no class in common.
        first = str(error).splitlines()[0] if str(error) else ""
        raise RegistryError(
            "the Hub did not do this",
            where=str(place),
            got=f"{type(error).__name__}: {first}",
            hint="check the name, the network, and who is logged in (`hf auth login`)",
        ) from error


def _plain(text: str) -> str:
    """A text from a prompt, fit for a line of Markdown."""
    return re.sub(r"[^\w./ -]", "_", text, flags=re.ASCII)[:100]
