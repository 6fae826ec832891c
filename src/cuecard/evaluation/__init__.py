"""What a prompt is worth on rows it has not seen, with intervals, beside honest baselines."""

from typing import TYPE_CHECKING

from cuecard.lazy import lazy_exports

if TYPE_CHECKING:
    from cuecard.evaluation.baselines.manual import (
        ManualPrompt,
        default_manual_prompts,
        with_demonstrations,
    )
    from cuecard.evaluation.baselines.selection import Choice, ManualTrial, majority, select_manual
    from cuecard.evaluation.evaluate import (
        Evaluation,
        Gain,
        gain,
        only,
        prompt_tokens,
        score_predictions,
    )
    from cuecard.evaluation.predict import batch_prior, content_free_prior, label_prior
    from cuecard.metrics.intervals import (
        mean_interval,
        paired_interval,
        paired_proportions_interval,
        proportion_interval,
    )

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".baselines.selection": ("Choice", "ManualTrial", "majority", "select_manual"),
        ".evaluate": ("Evaluation", "Gain", "gain", "only", "prompt_tokens", "score_predictions"),
        "cuecard.metrics.intervals": (
            "mean_interval",
            "paired_interval",
            "paired_proportions_interval",
            "proportion_interval",
        ),
        ".baselines.manual": ("ManualPrompt", "default_manual_prompts", "with_demonstrations"),
        ".predict": ("batch_prior", "content_free_prior", "label_prior"),
        "cuecard.tasks.predictions": ("calibrate",),
    },
)

__all__ = [
    "Choice",
    "Evaluation",
    "Gain",
    "ManualPrompt",
    "ManualTrial",
    "batch_prior",
    "calibrate",
    "content_free_prior",
    "default_manual_prompts",
    "gain",
    "label_prior",
    "majority",
    "mean_interval",
    "only",
    "paired_interval",
    "paired_proportions_interval",
    "prompt_tokens",
    "proportion_interval",
    "score_predictions",
    "select_manual",
    "with_demonstrations",
]
