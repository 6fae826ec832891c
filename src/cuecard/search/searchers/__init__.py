"""The ways to search, by name. Only the one that is asked for is imported.

A searcher of another package is an entry point in the group `cuecard.searchers`: its name = its
class, or a `SearcherEntry`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cuecard.errors import ConfigError
from cuecard.plugins import PluginMapping

if TYPE_CHECKING:
    from cuecard.search.searcher import Searcher
    from cuecard.search.settings import SearchSettings

AUTO = "auto"
"""The portfolio of the searchers that are possible."""

RLPROMPT = "rlprompt"
"""The searcher whose prompts a policy writes."""

NEEDS: Mapping[str, str] = MappingProxyType(
    {
        "llm": "an LLM that writes (--llm)",
        "optuna": "Optuna (pip install 'cuecard[search]')",
        "labels": "a task with labels, told by their words",
        "likelihoods": "a backbone in this process, whose likelihoods it reads",
        "gradients": "a backbone in this process, whose gradients it follows",
        "cma": "cma (pip install 'cuecard[search]')",
        "gepa": "GEPA's library (pip install 'cuecard[gepa]')",
    }
)
"""What a searcher may need beside rows and something that answers, in words."""


@dataclass(frozen=True, slots=True)
class SearcherEntry:
    """A way to search.

    Attributes:
        home: its module here, and its class; or the class of another package.
        needs: of `NEEDS`.
        in_auto: whether the portfolio has it; not those that do what another one does too, that
            find no words, or that take thousands of calls before they find anything.
        settings: of `SearchSettings`, those that not every searcher has a use for.
    """

    home: tuple[str, str] | Callable[[], Searcher]
    needs: tuple[str, ...] = ()
    in_auto: bool = True
    settings: tuple[str, ...] = ()

    def make(self) -> Searcher:
        """A new one, for one search."""
        if not isinstance(self.home, tuple):
            return self.home()
        module, name = self.home
        made: Searcher = getattr(import_module(f"{__name__}.{module}"), name)()
        return made

    def missing(self, at_hand: Collection[str]) -> str | None:
        """What it needs and does not have, in words; None where it has all.

        Args:
            at_hand: of `NEEDS`.
        """
        return next((NEEDS[need] for need in self.needs if need not in at_hand), None)


_SWAPS = ("trigger_tokens", "fluency", "population", "step_rows")

_BUILT_IN: Mapping[str, SearcherEntry] = MappingProxyType(
    {
        AUTO: SearcherEntry(("portfolio", "Portfolio"), in_auto=False),
        "demonstrations": SearcherEntry(("demonstrations", "Demonstrations"), settings=("show",)),
        "calibration": SearcherEntry(
            ("fitted.calibration", "Calibration"), ("labels", "likelihoods")
        ),
        "label-words": SearcherEntry(
            ("fitted.label_words", "LabelWordSearch"),
            ("labels", "likelihoods"),
            settings=("words_by",),
        ),
        "grips": SearcherEntry(("grips", "GrIPS")),
        "autoprompt": SearcherEntry(
            ("gradient.autoprompt", "AutoPrompt"),
            ("gradients",),
            in_auto=False,
            settings=("words_by", *_SWAPS),
        ),
        "gcg": SearcherEntry(
            ("gradient.gcg", "GCG"), ("gradients",), in_auto=False, settings=_SWAPS
        ),
        "pez": SearcherEntry(
            ("gradient.pez", "PEZ"),
            ("gradients",),
            in_auto=False,
            settings=("trigger_tokens", "fluency", "step_rows"),
        ),
        RLPROMPT: SearcherEntry(
            ("black_box.rlprompt", "RLPrompt"),
            ("likelihoods",),
            in_auto=False,
            settings=("population", "step_rows", "written_tokens"),
        ),
        "bbt": SearcherEntry(
            ("black_box.bbt", "BBT"),
            ("likelihoods", "cma"),
            in_auto=False,
            settings=("population", "step_rows"),
        ),
        "ape": SearcherEntry(("llm.ape", "APE"), ("llm",), in_auto=False),
        "opro": SearcherEntry(("llm.opro", "OPRO"), ("llm",)),
        "evoprompt-ga": SearcherEntry(("llm.evoprompt", "EvoPromptGA"), ("llm",), in_auto=False),
        "evoprompt-de": SearcherEntry(("llm.evoprompt", "EvoPromptDE"), ("llm",), in_auto=False),
        "capo": SearcherEntry(("llm.capo", "CAPO"), ("llm",)),
        "mipro": SearcherEntry(("llm.mipro", "MIPRO"), ("llm", "optuna")),
        "gepa": SearcherEntry(("llm.gepa", "GEPA"), ("llm",)),
        "gepa-library": SearcherEntry(
            ("llm.gepa_library", "GEPALibrary"), ("llm", "gepa"), in_auto=False
        ),
    }
)
_SETTINGS = frozenset(setting for entry in _BUILT_IN.values() for setting in entry.settings)


def _offered(name: str, found: Any) -> SearcherEntry:
    """A searcher of an installed package; the portfolio has it only where its entry says so.

    Raises:
        TypeError: it is none.
        ValueError: it needs or reads what there is not.
    """
    entry = found if isinstance(found, SearcherEntry) else SearcherEntry(found, in_auto=False)
    if isinstance(entry.home, tuple) or not callable(getattr(entry.home, "propose", None)):
        raise TypeError("a searcher is a class with a method `propose`, or a SearcherEntry of one")
    for given, known in ((entry.needs, NEEDS), (entry.settings, _SETTINGS)):
        if wrong := sorted({*given} - {*known}):
            raise ValueError(f"no such need or setting: {', '.join(wrong)}")
    return entry


SEARCHERS: PluginMapping[SearcherEntry] = PluginMapping(
    "cuecard.searchers", "searcher", _BUILT_IN, _offered
)
"""Name -> entry."""


def at_hand(*, llm: bool, labels: bool = True, model: bool = True) -> frozenset[str]:
    """What a search has of `NEEDS`.

    Args:
        llm: whether an LLM writes.
        labels: whether the task has labels.
        model: whether a backbone in this process answers.
    """
    found = {
        "llm": llm,
        "optuna": find_spec("optuna") is not None,
        "labels": labels,
        "likelihoods": model,
        "gradients": model,
        "cma": find_spec("cma") is not None,
        "gepa": find_spec("gepa") is not None,
    }
    return frozenset(name for name, there in found.items() if there)


def asks_llm(name: str) -> bool:
    """Whether a searcher uses an LLM that writes: those that need one, and the portfolio."""
    return name == AUTO or "llm" in SEARCHERS[name].needs


def settings_of(name: str) -> set[str]:
    """Of the settings that not every searcher has a use for, those that one has."""
    parts = [one for one in SEARCHERS.values() if one.in_auto] if name == AUTO else []
    return {setting for one in (SEARCHERS[name], *parts) for setting in one.settings}


def check_settings(name: str, settings: SearchSettings) -> None:
    """Refuse settings that a searcher has no use for.

    Raises:
        ConfigError: one that differs from its default.
    """
    for setting in sorted(_SETTINGS - settings_of(name)):
        value = getattr(settings, setting)
        if value != type(settings).model_fields[setting].default:
            raise ConfigError(
                f"this searcher has no use for {setting}",
                where=f"--searcher {name}",
                got=f"{setting}: {value}",
                expected="--searcher "
                + ", ".join(each for each, _ in SEARCHERS.items() if setting in settings_of(each)),
            )


def left_out(searchers: Mapping[str, str]) -> str:
    """Searchers with the reasons why the portfolio has not got them, in words."""
    by_reason: dict[str, list[str]] = {}
    for name, why in searchers.items():
        by_reason.setdefault(why, []).append(name)
    return ", ".join(f"{', '.join(names)} ({why})" for why, names in by_reason.items())
