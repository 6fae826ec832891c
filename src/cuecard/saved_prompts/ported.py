"""Prompts of a registry and of folders that are ported, and the registry's new versions of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuecard.backbones.adapters.adapter import NO_ADAPTER
from cuecard.errors import ConfigError, PromotionError, RegistryError
from cuecard.registry import Registry
from cuecard.registry.records.references import LATEST, check_alias, check_name, is_reference
from cuecard.runs.compiling.rows import files_by_name
from cuecard.runs.porting.recipe import OldPromptRecipe
from cuecard.runs.porting.run import PortOutcome
from cuecard.saved_prompts.finding import SavedPrompt, find_prompt
from cuecard.saved_prompts.own_backbone import own_backbone


def old_prompts(
    places: Sequence[str],
    inputs: Sequence[str],
    tests: Sequence[str] = (),
    *,
    registry: str | None = None,
    backbone: str | None = None,
) -> dict[str, OldPromptRecipe]:
    """The prompts of some places by name, as `PortRecipe.prompts` has them.

    Args:
        places: NAME@ALIAS or NAME@NUMBER of the registry, or prompts' and runs' folders, which
            have their folder's name.
        inputs: files for all prompts, of which there is one, or NAME=FILE for one of them.
        tests: the same of labelled rows, which need not be.
        registry: where versions are looked up.
        backbone: what all are asked on; by default what each says.

    Raises:
        ConfigError: two prompts of one name, a prompt without inputs, or inputs for none.
        CuecardError: see `find_prompt`.
    """
    found: dict[str, tuple[SavedPrompt, int | None]] = {}
    for place in places:
        name, saved, version = _found(place, registry)
        if name in found:
            raise ConfigError(
                "two prompts have one name",
                where=place,
                got=name,
                expected="names that differ: port one after the other, or rename a folder",
            )
        found[name] = saved, version
    asked = files_by_name(inputs, found, "--inputs", "prompt")
    scored = files_by_name(tests, found, "--tests", "prompt")
    missing = [name for name in found if name not in asked]
    if missing:
        raise ConfigError(
            "there is nothing to ask the prompts",
            where="--inputs",
            got=f"no inputs for {', '.join(missing)}",
            expected="a file of texts without labels, or NAME=FILE for each prompt",
        )
    return {
        name: _section(saved, version, asked[name], scored.get(name), backbone)
        for name, (saved, version) in found.items()
    }


def references_with(alias: str, registry: str) -> list[str]:
    """NAME@ALIAS of every prompt that has the alias; of "latest" every name.

    Raises:
        RegistryError: a registry that cannot be read, or in which nothing has it.
    """
    opened = Registry(registry)
    names = opened.names()
    if alias != LATEST:
        check_alias(alias)
        names = [name for name in names if alias in opened.aliases(name)]
    else:
        live = {name: opened.versions(name) for name in names}
        names = [name for name in names if any(not one.deleted for one in live[name])]
    if not names:
        raise RegistryError("no prompt has this alias", where=registry, got=alias)
    return [f"{name}@{alias}" for name in names]


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A new version of a prompt.

    Attributes:
        version: NAME@NUMBER.
        new: False if the registry had this content.
        alias: what points at it now; None for nothing.
    """

    version: str
    new: bool
    alias: str | None


def check_publishable(names: Sequence[str], alias: str | None) -> None:
    """
    Raises:
        RegistryError: a name or an alias that no registry takes.
    """
    for name in names:
        check_name(name)
    if alias is not None:
        check_alias(alias)


def publish_ported(
    outcome: PortOutcome, registry: str, *, alias: str | None = None, why: str = ""
) -> dict[str, PublishedPort]:
    """Push the prompts that pass as the next versions of their names, and move an alias to them.

    What was measured is the evidence of the alias's move. Pushing again changes nothing.

    Raises:
        RegistryError: the registry cannot be written, or a name that it does not take.
    """
    opened, found = Registry(registry), {}
    for each in outcome.report["prompts"]:
        if not each["passed"]:
            continue
        reason = why or f"ported to {outcome.report['backbone']}"
        pushed = opened.push(outcome.prompt_folder(each["name"]), each["name"], why=reason)
        if alias is not None:
            evidence = _evidence(each)
            opened.promote(pushed.version, alias, why=reason, check=lambda *_, e=evidence: e)
        found[each["name"]] = PublishedPort(str(pushed.version), pushed.new, alias)
    return found


def check_passed(outcome: PortOutcome) -> None:
    """
    Raises:
        PromotionError: a prompt that was not shown to be no worse.
    """
    failed = [each["name"] for each in outcome.report["prompts"] if not each["passed"]]
    if failed:
        raise PromotionError(
            "not shown to be no worse than before; not pushed",
            where=str(outcome.folder),
            got=", ".join(failed),
            expected="prompts that pass; report.md says by how much they do not",
            hint="more --inputs and --tests narrow the intervals; `cuecard push` takes any prompt",
        )


def _evidence(each: Mapping[str, Any]) -> dict[str, Any]:
    old, names = each["ported_from"], ("name", "rows", "value", "ci95", "limit")
    gates = [{name: gate[name] for name in names} for gate in each["gates"]]
    return {"ported_from": old, "gates": gates}


def _found(place: str, registry: str | None) -> tuple[str, SavedPrompt, int | None]:
    """A prompt's name, where it lies, and its number in the registry."""
    if registry is not None and is_reference(place) and not Path(place).exists():
        version = Registry(registry).resolve(place)  # once: an alias may move meanwhile
        return version.record.name, find_prompt(str(version), registry), version.number
    folder = Path(place).resolve()
    return (folder.parent if folder.name == "prompt" else folder).name, find_prompt(place), None


def _section(
    saved: SavedPrompt,
    version: int | None,
    inputs: str,
    tests: str | None,
    backbone: str | None,
) -> OldPromptRecipe:
    try:
        found = own_backbone(saved.prompt, saved, backbone)
    except ConfigError as error:
        expected = "--from-backbone with a name, a folder or a hub id"
        if saved.prompt.manifest.backbone.fingerprint.adapter != NO_ADAPTER:
            expected = "the folder of the run that trained it, with its adapter"
        raise error.replaced(expected=expected, hint=None) from error
    return OldPromptRecipe(
        folder=str(saved.folder),
        version=version,
        backbone=str(found.name),
        quantize=found.quantize,
        adapter=None if found.adapter is None else str(found.adapter),
        inputs=inputs,
        tests=tests,
    )
