"""What `--method auto` tries, in the order in which a small budget leaves it out from the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cuecard.errors import BackboneError, ConfigError
from cuecard.methods import MethodSettings, PromptTuning, PTuningV2
from cuecard.tasks import Task
from cuecard.training.config import TrainConfig
from cuecard.training.setup import TrainSetup
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.types import Backbone, Encoded, Slot


@dataclass(frozen=True, slots=True)
class Candidate:
    """A method with its settings, and the training settings that suit it.

    Attributes:
        name: what tables call it.
        method: its settings.
        changes: training settings that it takes where the user leaves the default.
    """

    name: str
    method: MethodSettings
    changes: Mapping[str, Any] = field(default_factory=dict)


def _late(rate: float) -> Candidate:
    """Late keys and values: inputs are run once, so that large batches cost little."""
    method = PTuningV2(length=8, slot="infix", values_lr=rate)
    return Candidate(f"late p-tuning-v2, rate {rate:g}", method, {"batch_rows": 32})


def _prefix(rate: float) -> Candidate:
    return Candidate(f"p-tuning-v2, rate {rate:g}", PTuningV2(length=8, values_lr=rate))


CONTESTANTS: tuple[Candidate, ...] = (
    _late(0.03),
    _late(0.1),
    _prefix(0.03),
    Candidate("prompt-tuning", PromptTuning(length=16)),
    _late(0.01),
    _prefix(0.01),
)


@dataclass(frozen=True)
class Entrants:
    """The contestants that a backbone and a task take.

    Attributes:
        setups, methods: each one's set-up and method, by name.
        refused: the others, and why.
    """

    setups: Mapping[str, TrainSetup]
    methods: Mapping[str, MethodSettings]
    refused: Mapping[str, str]

    @classmethod
    def of(cls, backbone: Backbone, task: Task, config: TrainConfig) -> Entrants:
        """Set up every contestant that can run; what all of them are refused for is raised.

        Raises:
            CuecardError: as `TrainSetup.of`, where no contestant can run.
        """
        setups: dict[str, TrainSetup] = {}
        refused: dict[str, str] = {}
        errors: list[ConfigError | BackboneError] = []
        rows: dict[Slot, tuple[int, tuple[Encoded, ...]]] = {}
        for each in CONTESTANTS:
            # What the user set stays; a recipe that is read again has every default set.
            usual = {name: type(config).model_fields[name].default for name in each.changes}
            wanted = {k: v for k, v in each.changes.items() if getattr(config, k) == usual[k]}
            # The budget is all contestants'.
            own = config.model_copy(update={**wanted, "budget": None})
            prompt = TrainablePrompt(each.method)
            checked, known = rows.get(prompt.slot, (0, None))
            try:
                length = getattr(each.method, "length", None) or 0
                setup = TrainSetup.of(
                    backbone, task, prompt, own, rows=known if length <= checked else None
                )
            except (ConfigError, BackboneError) as error:
                errors.append(error)
                refused[each.name] = f"{error.what}: {error.got}"
                continue
            rows.setdefault(prompt.slot, (setup.start.injection().length, tuple(setup.rows)))
            setups[each.name] = setup
        if not setups:
            # The last ones need the least, but no place in the template.
            late = backbone.unsupported("late-prefix-kv", "text") is None
            raise errors[0 if late and task.spec.parsed.has_prompt else -1]
        methods = {each.name: each.method for each in CONTESTANTS if each.name in setups}
        return cls(setups, methods, refused)
