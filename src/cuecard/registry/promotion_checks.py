"""Promotion checks: a minimum score, and being no worse than the version in use.

"Not worse" is non-inferiority: both versions answer the same rows, and the upper end of the paired
95% interval of (current score - new score) must not exceed a margin. Few rows give a wide interval,
and then the new version is refused: it was not shown to be no worse. Fewer than `FEWEST` rows
decide nothing, whatever their scores.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cuecard.artifacts import Prompt
from cuecard.artifacts.seen_rows import SeenRows
from cuecard.errors import ConfigError, DataWarning, PromotionError
from cuecard.evaluation import Evaluation, gain
from cuecard.evaluation.loglikelihood import OnRows
from cuecard.evaluation.predict import BATCH_ROWS
from cuecard.evaluation.report import plain
from cuecard.metrics.intervals import rows_for_margin
from cuecard.metrics.margin import FEWEST, MARGIN
from cuecard.registry.records.schemas import Version
from cuecard.registry.registry import Registry
from cuecard.tasks import TaskSpec
from cuecard.types import Backbone, Interval, Record


@dataclass
class EvaluationSetup:
    """How a promotion check scores versions on rows.

    Attributes:
        rows: the labelled rows, as the new version's task reads them.
        backbone: loads what a prompt runs on; called for each prompt.
        margin: how much worse the new version may be, in the score's units.
        seed: of the draws behind F1's interval.
        trusted: public keys, one of which must have signed what is scored.
        on_rows: called with the number of rows answered.
    """

    rows: Callable[[TaskSpec], Sequence[Record]]
    backbone: Callable[[Prompt], Backbone]
    margin: float = MARGIN
    seed: int = 0
    trusted: Sequence[str] = ()
    batch_rows: int = BATCH_ROWS
    on_rows: OnRows | None = None


@dataclass
class PromotionChecks:
    """The checks that `Registry.promote` runs before it moves an alias.

    Attributes:
        minimum: metric -> the least value. It is measured on the rows where there are any; else it
            is compared with what the version's maker measured on its test rows
            ("validation.accuracy" names another section).
        setup: how to score the versions on rows; None runs no model.
    """

    registry: Registry
    minimum: Mapping[str, float] = field(default_factory=dict)
    setup: EvaluationSetup | None = None
    _records: Sequence[Record] | None = None
    _measured: dict[int, Evaluation] = field(default_factory=dict)
    _seen: dict[str, dict[str, int]] = field(default_factory=dict)
    _contents: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.setup is not None and not 0.0 <= self.setup.margin < 1.0:
            raise ConfigError(
                "the margin is not a share of the score",
                where="margin",
                got=self.setup.margin,
                expected="from 0 up to 1",
            )

    def __call__(self, current: Version | None, new: Version) -> dict[str, Any]:
        """Check the minimum and that the version is no worse; returns what was measured.

        Raises:
            PromotionError: a check that does not pass.
            CuecardError: as `Registry.read`, `evaluate`.
        """
        if self.setup is None:
            return self._stored_minimum(new)
        found = self._measure(self.setup, new)
        _check_rows(len(found.records), str(new))
        evidence: dict[str, Any] = {
            "rows": len(found.records),
            "metric": found.primary,
            "new": found.score,
        }
        if self.minimum:
            values = {key: value for key, value in found.metrics.items() if _is_number(value)}
            evidence["minimum"] = self._minimum(values, f"{new} on {len(found.records)} rows")
        if current is not None:
            evidence |= self._not_worse(self.setup, current, found, new)
        if self._seen:
            evidence["seen_rows"] = self._seen
        return dict(plain(evidence))

    def _stored_minimum(self, new: Version) -> dict[str, Any]:
        if not self.minimum:
            return {}
        values = dict(_numbers(new.record.metrics, ""))
        # A bare name is the score on test rows, which no choice was made on.
        values |= {
            key.removeprefix("test."): value
            for key, value in values.items()
            if key.startswith("test.")
        }
        where = f"{new}, as its maker measured it"
        found = self._minimum(values, where)
        for metric in self.minimum:
            section = metric.rpartition(".")[0] or "test"
            if (rows := values.get(f"{section}.rows")) is not None:
                _check_rows(int(rows), where)
        return {"minimum": found}

    def _minimum(self, values: Mapping[str, float], where: str) -> dict[str, Any]:
        for metric, least in self.minimum.items():
            if metric not in values:
                raise PromotionError(
                    "the version has no score of this name",
                    where=where,
                    got=metric,
                    expected=", ".join(sorted(values)) or "a version with scores",
                    hint="measure it on rows (--not-worse-on DATA)",
                )
            if values[metric] < least:
                raise PromotionError(
                    "the score is below the minimum; the alias was not moved",
                    where=where,
                    got=f"{metric} {values[metric]:.4f}",
                    expected=f"at least {least}",
                )
        return {m: {"least": least, "is": values[m]} for m, least in self.minimum.items()}

    def _not_worse(
        self, setup: EvaluationSetup, current: Version, found: Evaluation, new: Version
    ) -> dict[str, Any]:
        before = self._measure(setup, current)
        if before.primary != found.primary:
            raise PromotionError(
                "the versions are scored by different metrics",
                got=f"{before.primary} ({current}) and {found.primary} ({new})",
                expected="two versions of one task",
            )
        same = self._contents[current.number] == self._contents[new.number]
        # One prompt under two numbers: no rows are needed to know how they differ.
        interval = Interval(0.0, 0.0) if same else gain(before, found, seed=setup.seed).ci95
        difference = before.score - found.score
        if interval.high > setup.margin:
            needed = _rows_needed(before, found, interval.high, setup.margin)
            raise PromotionError(
                f"{new} was not shown to be no worse than {current}; the alias was not moved",
                where=f"{len(found.records)} rows, {found.primary}",
                got=f"{before.score:.4f} now and {found.score:.4f} then; the difference may be as "
                f"much as {interval.high:+.4f} (95% interval {interval.low:+.4f} to "
                f"{interval.high:+.4f})",
                expected=f"at most {setup.margin:+.4f}",
                hint="a larger --margin allows for more"
                if needed is None
                else f"about {needed:,} rows would show it for answers like these; or allow a "
                "larger --margin",
            )
        return {
            "current": before.score,
            "current_minus_new": difference,
            "ci95": [interval.low, interval.high],
            "margin": setup.margin,
        }

    def _measure(self, setup: EvaluationSetup, version: Version) -> Evaluation:
        if version.number not in self._measured:
            prompt = self.registry.read(version, setup.trusted).prompt
            bound = prompt.bind(setup.backbone(prompt))
            if self._records is None:
                self._records = setup.rows(prompt.spec)
            self._contents[version.number] = _what_answers(prompt)
            self._note_seen(version, prompt.seen(self._records))
            self._measured[version.number] = bound.evaluate(
                self._records, batch_rows=setup.batch_rows, on_rows=setup.on_rows
            )
        return self._measured[version.number]

    def _note_seen(self, version: Version, seen: SeenRows) -> None:
        """Warn of rows that a version was trained or selected on, and keep the counts."""
        if seen:
            warnings.warn(DataWarning(seen.sentence(str(version))), stacklevel=2)
            self._seen[str(version)] = {
                "trained": len(seen.trained),
                "selected": len(seen.selected),
            }


def _what_answers(prompt: Prompt) -> str:
    """All of a manifest that its answers depend on."""
    keys = {"tensors", "injection", "key_heads", "head", "slot", "task", "backbone", "prior"}
    return prompt.manifest.model_dump_json(include=keys)


def _check_rows(rows: int, where: str) -> None:
    if rows < FEWEST:
        raise PromotionError(
            "too few rows to decide on; the alias was not moved",
            where=where,
            got=f"{rows} rows",
            expected=f"at least {FEWEST}, and {rows_for_margin(MARGIN)} for a margin of {MARGIN}",
        )


def _rows_needed(before: Evaluation, found: Evaluation, high: float, margin: float) -> int | None:
    """On how many rows like these the interval would end at the margin; None if on none."""
    difference = before.score - found.score
    if difference >= margin or not math.isfinite(high):
        return None
    if [p.answer for p in before.predictions] == [p.answer for p in found.predictions]:
        return rows_for_margin(margin)
    # The interval's half shrinks with the root of the rows.
    return math.ceil(len(found.records) * ((high - difference) / (margin - difference)) ** 2)


def _numbers(metrics: Mapping[str, Any], prefix: str) -> list[tuple[str, float]]:
    """All numbers in nested metrics, by dotted names."""
    found: list[tuple[str, float]] = []
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{key}.")
        elif _is_number(value):
            found.append((f"{prefix}{key}", float(value)))
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
