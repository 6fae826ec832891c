"""A race of methods and rates, within the steps that a method by its name makes at all rates."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from cuecard.comparison.contest.contender import Contest, Prepared, WithSteps
from cuecard.comparison.contest.contenders.prompts import TunedPrompt, loaded_prompt, run_facts_of
from cuecard.comparison.contest.rates import AllDivergedError
from cuecard.errors import TrainingError
from cuecard.methods import PromptTuning
from cuecard.training.config import TrainConfig, with_budget
from cuecard.training.race.runner import RaceRunner
from cuecard.training.setup import TrainSetup

_PROMPT = TunedPrompt(PromptTuning.name)


class RacedMethods(WithSteps):
    """What `cuecard train` does by default: several methods and rates for a few steps, then the
    best one."""

    title = "race of methods"
    races = True

    def settings(self, contest: Contest) -> Mapping[str, Any]:
        """Its budget, and whether heads race."""
        return {"steps": _steps(contest), "heads": contest.heads}

    def setup(self, contest: Contest) -> TrainSetup:
        """Prompt tuning's, which makes as many steps at all its rates: it takes about as long."""
        _config(contest)
        return _PROMPT.setup(contest)

    def prepare(self, contest: Contest) -> Prepared:
        """Race, and train the best one on."""
        config = _config(contest)
        race = RaceRunner(contest.backbone, contest.unsealed, config, heads=contest.heads)
        if contest.folder is not None:
            race.fits(contest.folder)
        try:
            run = race.run(contest.folder, partial(_tell, contest))
        except TrainingError as error:
            raise AllDivergedError(error.what, got=error.got) from error
        return Prepared(
            score=run.validation.accuracy,
            parameters=run.trained,
            nbytes=run.prompt.nbytes,
            cpu_seconds=run.cpu_seconds,
            seconds=run.seconds,
            loaded=partial(loaded_prompt, contest.backbone, run.prompt),
            mixes=True,
            facts={**run_facts_of(run), "method": run.prompt.manifest.method},
        )


def _steps(contest: Contest) -> int:
    return contest.rates * contest.config.steps


def _config(contest: Contest) -> TrainConfig:
    """How it trains.

    Raises:
        ConfigError: a learning rate is given, which a race chooses itself.
    """
    steps = _steps(contest)
    given = {"steps": steps, "budget": f"{steps} steps"}
    return with_budget(contest.config.model_copy(update=given))


def _tell(contest: Contest, event: dict[str, Any]) -> None:
    """An event of the race: in a contest, `contestant` is who races, and steps are its budget."""
    told = dict(event)
    if "contestant" in told:
        told["candidate"] = told.pop("contestant")
    if told["event"] == "race":
        told["set_by"] = "training.steps"
    contest.tell(told)
