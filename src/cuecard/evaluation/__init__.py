"""What a prompt is worth on rows it has not seen, with intervals, beside honest baselines."""

from cuecard.evaluation.baselines import Choice, Trial, majority, select_manual
from cuecard.evaluation.evaluate import (
    Evaluation,
    Gain,
    evaluate,
    gain,
    prompt_tokens,
    score_predictions,
)
from cuecard.evaluation.intervals import (
    mean_interval,
    paired_interval,
    paired_proportions_interval,
    proportion_interval,
)
from cuecard.evaluation.manual import ManualPrompt, default_manual_prompts, with_demonstrations
from cuecard.evaluation.predict import (
    batch_prior,
    calibrate,
    content_free_prior,
    label_prior,
    predict,
)

__all__ = [
    "Choice",
    "Evaluation",
    "Gain",
    "ManualPrompt",
    "Trial",
    "batch_prior",
    "calibrate",
    "content_free_prior",
    "default_manual_prompts",
    "evaluate",
    "gain",
    "label_prior",
    "majority",
    "mean_interval",
    "paired_interval",
    "paired_proportions_interval",
    "predict",
    "prompt_tokens",
    "proportion_interval",
    "score_predictions",
    "select_manual",
    "with_demonstrations",
]
