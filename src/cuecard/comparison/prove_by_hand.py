"""The best hand-written prompts, with and without demonstrations."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from cuecard.comparison.comparison import Comparison, Contestant, test_tokens
from cuecard.errors import ConfigError
from cuecard.evaluation.baselines.manual import (
    ManualPrompt,
    default_manual_prompts,
    demonstration_counts,
    most_demonstrations,
    with_demonstrations,
)
from cuecard.evaluation.baselines.selection import NOT_TRIED, Choice, ManualTrial, select_manual
from cuecard.evaluation.evaluate import Evaluation, evaluate, score_predictions
from cuecard.evaluation.likely_words import is_long
from cuecard.tasks import Task, draw_rows
from cuecard.tasks.kinds.base import HandWritten
from cuecard.tasks.predictions import calibrate
from cuecard.types import Record

# Draws of demonstrations for each number of them: which ones are shown matters much.
_DRAWS = 3
# What the zero-shot prompts may take of the tokens for choosing; those with demonstrations are
# more, and longer.
_ZERO_SHOT = 1 / 3


def by_hand_tokens(
    comparison: Comparison, task: Task, manual: Sequence[ManualPrompt] | None
) -> int:
    """About how many tokens the test of a hand-written prompt runs forward.

    None where every candidate's answers are there from the trained prompt's own test.
    """
    backbone = comparison.backbone
    if manual and comparison.run.alongside is not None:
        with suppress(ConfigError):
            asked = [
                one.to_spec(task.spec, backbone.tokenizer, backbone.max_positions) for one in manual
            ]
            if all(comparison.answered(spec) is not None for spec in asked):
                return 0
    return test_tokens(comparison, task)


def compare_by_hand(
    comparison: Comparison,
    how: HandWritten,
    manual: Sequence[ManualPrompt] | None,
    demonstrations: Sequence[int] | None,
    selection_rows: int | None,
) -> None:
    """Add the best zero-shot prompt, as written and as calibrated, and the best in-context one.

    Args:
        how: how they are chosen.
        manual, demonstrations, selection_rows: as in `prove`.
    """
    task = comparison.task
    # By hand the model says a label's word, whatever the trained prompt does.
    task = replace(task, spec=task.spec.in_words)
    rows = draw_rows(task.validation, selection_rows or how.rows, "by hand")
    hand = _ByHand(comparison, task, rows, how.rounds)
    candidates = list(manual or default_manual_prompts(task.spec))
    test = test_tokens(comparison, task)
    left = comparison.tokens_left - by_hand_tokens(comparison, task, manual)
    # Enough for both, or all of it for the first.
    zero_shot = (left - test) * _ZERO_SHOT if left >= test else left
    best = hand.choose("hand-written prompts", candidates, zero_shot)
    if best is not None:
        with comparison.optional("hand-written prompts"):
            hand.test_zero_shot(best)
    shown = hand.with_demonstrations(candidates, best, demonstrations)
    # Whoever names the numbers of demonstrations wants to see them, whatever they cost.
    if shown and (demonstrations or comparison.affords("prompts with demonstrations", test)):
        found = hand.choose("prompts with demonstrations", shown, comparison.tokens_left - test)
        if found is not None:
            with comparison.optional("prompts with demonstrations"):
                hand.test_in_context(found)
    if chosen := hand.choices:
        # Which of them is the best is a choice too, made on validation rows.
        comparison.best_by_hand = max(chosen, key=lambda key: chosen[key].score)


class _ByHand:
    """Chooses prompts on validation rows, and tests those that are chosen."""

    def __init__(
        self, comparison: Comparison, task: Task, rows: Sequence[Record], rounds: Sequence[int]
    ) -> None:
        self._comparison, self._task, self._rows, self._rounds = comparison, task, rows, rounds
        self._seconds: dict[str, float] = {}
        self.choices: dict[str, Choice] = {}

    def choose(self, what: str, candidates: Sequence[ManualPrompt], tokens: float) -> Choice | None:
        """The best candidate; None, with a note, where none can be used."""
        tell = self._comparison.tell

        def told(trial: ManualTrial, number: int, total: int) -> None:
            tell(
                {
                    "event": "candidate",
                    "name": trial.name,
                    "variant": trial.variant,
                    "score": trial.score,
                    "rows": trial.rows,
                    "i": number,
                    "n": total,
                }
            )

        started = time.process_time()
        found: Choice | None = None
        with self._comparison.optional(what):
            found = select_manual(
                self._comparison.backbone,
                self._task.spec,
                self._rows,
                candidates,
                rounds=self._rounds,
                tokens=max(0, round(tokens)),
                on_trial=told,
            )
        spent = time.process_time() - started
        if found is not None:
            if spared := list(found.skipped.values()).count(NOT_TRIED):
                self._comparison.leave_out(f"{spared} of {len(candidates)} {what}", NOT_TRIED)
            for choice in filter(None, (found, found.as_written)):
                self._seconds[choice.manual.name] = spent
        return found

    def with_demonstrations(
        self,
        candidates: Sequence[ManualPrompt],
        best: Choice | None,
        wanted: Sequence[int] | None,
    ) -> list[ManualPrompt]:
        """The task's own template and the best zero-shot prompt, each with solved training rows."""
        spec, train = self._task.spec, self._task.train
        if wanted is not None and not wanted:
            return []
        counts = demonstration_counts(spec, train) if wanted is None else tuple(wanted)
        most = most_demonstrations(train, spec)
        # The middle ones first: where the tokens do not last, they are the best guess.
        usable = sorted((count for count in counts if count <= most), key=lambda k: abs(k - 8))
        if not usable:
            fewest = min(counts, default=1)
            self._comparison.leave_out(
                "prompts with demonstrations",
                f"{fewest} of them need more than {len(train)} training rows",
            )
            return []
        bases = [candidates[0]]
        if best is not None and best.manual != candidates[0]:
            bases.insert(0, best.manual)
        drawn = [with_demonstrations(base, train, usable, spec, 0, draws=_DRAWS) for base in bases]
        # First draws first: where the tokens do not last, every number has been tried.
        return [
            some[place * _DRAWS + draw]
            for draw in range(_DRAWS)
            for some in drawn
            for place in range(len(usable))
        ]

    def test_zero_shot(self, best: Choice) -> None:
        """Add the best prompt as it is written, and as it is read best where that is another."""
        written = best.as_written
        # Candidates of one's own may bring demonstrations.
        shown = any(one is not None and one.manual.demonstrations for one in (best, written))
        kind = "hand-written" if shown else "zero-shot"
        if self._task.spec.mode == "text" or written is None:
            self._add("manual", best, f"the best {kind} prompt", self._test(best))
            return
        found = self._test(written)
        self._add("manual", written, f"the best {kind} prompt", found)
        same = best.manual == written.manual
        read = (self._read_again(best, found) if same else None) or self._test(best)
        self._add("manual_calibrated", best, f"the best calibrated {kind} prompt", read)

    def test_in_context(self, best: Choice) -> None:
        """Add the best prompt with demonstrations."""
        self._add("in_context", best, "the best in-context prompt", self._test(best))

    def _read_again(self, choice: Choice, plain: Evaluation) -> Evaluation | None:
        """A choice's answers from those without its prior; None where they do not give them."""
        if choice.prior is None:
            return plain
        # Of a long list, labels that cannot matter are left out: which ones, the prior decides.
        if is_long(choice.spec.label_words(self._comparison.backbone.tokenizer).words):
            return None
        return score_predictions(
            choice.spec,
            self._task.test,
            calibrate(plain.predictions, choice.prior),
            seconds=plain.seconds,
            tokens_per_request=plain.tokens_per_request,
        )

    def _test(self, choice: Choice) -> Evaluation:
        known = self._comparison.answered(choice.spec)
        found = None if known is None else self._read_again(choice, known)
        if found is not None:
            return found
        self._comparison.begin(f"hand-written: {choice.manual.name}", choice.variant)
        return evaluate(
            self._comparison.backbone,
            choice.spec,
            self._task.test,
            prior=choice.prior,
            stop=choice.stop,
            on_rows=self._comparison.test_progress(),
        )

    def _add(self, key: str, choice: Choice, against: str, found: Evaluation) -> None:
        self.choices[key] = choice
        read = "" if choice.variant == "plain" else f" ({choice.variant})"
        facts: dict[str, Any] = {
            "name": choice.manual.name,
            "variant": choice.variant,
            "template": choice.spec.template,
            "chat": choice.spec.chat,
            "prior": choice.prior,
            "validation_score": choice.score,
            "demonstrations": len(choice.manual.demonstrations),
            "candidates": choice.table,
            "skipped": choice.skipped,
        }
        prior = 4 * len(choice.prior or ())
        self._comparison.add(
            Contestant(
                key=key,
                name=f"hand-written: {choice.manual.name}{read}",
                against=against,
                found=found,
                nbytes=len(choice.spec.template.encode()) + prior,
                cpu_seconds=self._seconds[choice.manual.name],
                facts=facts,
            )
        )
