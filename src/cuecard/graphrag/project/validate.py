"""What would stop GraphRAG's index run, or be passed over in it: found in its folder beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cuecard.errors import ConfigError
from cuecard.graphrag.project.project import GraphProject
from cuecard.graphrag.project.settings_file import NAMES
from cuecard.graphrag.prompts.slots import PromptSlot, faults_in


@dataclass(frozen=True, slots=True)
class PromptFault:
    """Something that is wrong.

    Attributes:
        where: the file, or the setting.
    """

    where: str
    what: str


@dataclass(frozen=True)
class ProjectCheck:
    """What was looked at and what is wrong with it.

    Attributes:
        prompts: setting -> the prompt file that it names, or "GraphRAG's own".
        notes: what is wrong with prompts that answer questions: an index run does not read them,
            and `graphrag init` of 3.3.0 itself names one that it does not write.
    """

    prompts: Mapping[str, str]
    faults: tuple[PromptFault, ...]
    notes: tuple[PromptFault, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        told = {"faults": self.faults, "notes": self.notes}
        return {
            "prompts": dict(self.prompts),
            **{name: [asdict(each) for each in found] for name, found in told.items()},
        }


OWN = "GraphRAG's own"


def check_project(root: str | Path, slots: tuple[PromptSlot, ...]) -> ProjectCheck:
    """Check a project's prompts.

    Args:
        slots: of its version of GraphRAG.

    Raises:
        ConfigError: no project, or settings that cannot be read.
    """
    project = GraphProject.at(root)
    if project.file is None:
        raise ConfigError(
            "there is no GraphRAG project",
            where=str(root),
            got="none of " + ", ".join(NAMES),
            expected="a folder that `graphrag init` has made",
        )
    prompts: dict[str, str] = {}
    faults: list[PromptFault] = []
    notes: list[PromptFault] = []
    for slot in slots:
        named = project.section(slot.section).get(slot.key)
        if named is not None or not slot.formerly:
            prompts[slot.name] = OWN if named is None else str(named)
        if named is not None and _is_used(project, slot):
            faults += _faults_of_file(project.root / str(named), slot.name, slot)
    checked = set(prompts)
    for name, value in _other_prompts(project):
        if name not in checked:
            prompts[name] = value
            found = _faults_of_file(project.root / value, name, None)
            if name.partition(".")[0].endswith("_search"):
                notes += found
            else:
                faults += found
    faults += _faults_of_types(project)
    return ProjectCheck(prompts, tuple(faults), tuple(notes))


def _is_used(project: GraphProject, slot: PromptSlot) -> bool:
    """Claims are not looked for unless it is asked for."""
    claims = slot.section in ("extract_claims", "claim_extraction")
    return not claims or bool(project.section(slot.section).get("enabled"))


def _faults_of_file(path: Path, name: str, slot: PromptSlot | None) -> list[PromptFault]:
    """What is wrong with a prompt's file; of prompts that answer questions, whether it is there."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        return [PromptFault(f"{name}: {path}", f"the file cannot be read: {error.strerror}")]
    except UnicodeDecodeError:
        return [PromptFault(f"{name}: {path}", "the file is not UTF-8")]
    found = [] if slot is None else faults_in(text, slot)
    return [PromptFault(f"{name}: {path}", what) for what in found]


def _other_prompts(project: GraphProject) -> Iterator[tuple[str, str]]:
    """Settings of all sections that name prompt files."""
    for section, values in project.settings.items():
        for key, value in (values if isinstance(values, dict) else {}).items():
            if str(key).endswith("prompt") and isinstance(value, str):
                yield f"{section}.{key}", value


def _faults_of_types(project: GraphProject) -> list[PromptFault]:
    types = project.section("extract_graph").get("entity_types")
    if types is None:
        return []
    where = "extract_graph.entity_types"
    if not isinstance(types, list) or not types:
        return [PromptFault(where, "not a list of types")]
    wrong = [each for each in types if not isinstance(each, str) or not each.strip()]
    return [PromptFault(where, f"{each!r} is not a type's name") for each in wrong]
