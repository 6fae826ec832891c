"""Where prompts are kept, numbered and promoted: a folder, an object store, or the Hub."""

from typing import TYPE_CHECKING

from cuecard.lazy import lazy_exports

if TYPE_CHECKING:
    from cuecard.registry.gc import GarbageReport
    from cuecard.registry.hub import (
        HubPlace,
        parse_hub,
        pull_from_hub,
        push_to_hub,
        read_hub_folder,
        write_hub_folder,
    )
    from cuecard.registry.package import PromptPackage
    from cuecard.registry.promotion_checks import EvaluationSetup, PromotionChecks
    from cuecard.registry.records.references import Reference, parse_reference
    from cuecard.registry.records.schemas import AliasEvent, Version
    from cuecard.registry.registry import Pushed, Registry
    from cuecard.registry.signing import Signer, read_trusted
    from cuecard.registry.verify import Report

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".gc": ("GarbageReport",),
        ".package": ("PromptPackage",),
        ".records.schemas": ("AliasEvent", "Version"),
        ".promotion_checks": ("EvaluationSetup", "PromotionChecks"),
        ".hub": (
            "HubPlace",
            "parse_hub",
            "pull_from_hub",
            "push_to_hub",
            "read_hub_folder",
            "write_hub_folder",
        ),
        ".records.references": ("Reference", "parse_reference"),
        ".registry": ("Pushed", "Registry"),
        ".signing": ("Signer", "read_trusted"),
        ".verify": ("Report",),
    },
)

__all__ = [
    "AliasEvent",
    "EvaluationSetup",
    "GarbageReport",
    "HubPlace",
    "PromotionChecks",
    "PromptPackage",
    "Pushed",
    "Reference",
    "Registry",
    "Report",
    "Signer",
    "Version",
    "parse_hub",
    "parse_reference",
    "pull_from_hub",
    "push_to_hub",
    "read_hub_folder",
    "read_trusted",
    "write_hub_folder",
]
