# %% [markdown]
# # Compare with LoRA and TF-IDF
#
# A prompt, a LoRA adapter and a linear model on the same rows: what each scores, and what it
# costs.

# %%
import json
import random
from pathlib import Path

import cuecard

GOOD, BAD = ["warm", "funny", "true", "a joy"], ["cold", "dull", "false", "a bore"]
PARTS = ["story", "cast", "music", "ending", "camera"]

rng = random.Random(0)
rows = []
for number in range(120):
    label, words = [("negative", BAD), ("positive", GOOD)][number % 2]
    text = f"the {rng.choice(PARTS)} is {rng.choice(words)} and the {rng.choice(PARTS)} {number}"
    rows.append({"text": text, "label": label})
Path("reviews.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))

# %% [markdown]
# A comparison is a recipe: the one of a run, and who competes. Each contestant is trained at
# several learning rates, and the lowest validation loss decides.

# %%
recipe = cuecard.CompareRecipe.parse(
    {
        "recipe": {
            "data": {"path": "reviews.jsonl"},
            "task": {"template": "Review: {text}\nSentiment:"},
            "backbone": "smollm2-135m-instruct",
            "training": {"steps": 60},
            "out": "runs/compare",
        },
        "contest": {
            "contestants": ["majority", "tfidf", "zero-shot", "prompt-tuning", "lora"],
            "rates": 2,
            "general": "none",
        },
    }
)
outcome = cuecard.run_compare(recipe)

# %% [markdown]
# The report is in the folder too: `compare.html`, Markdown, LaTeX and CSV, with figures.

# %%
contestants = outcome.report["contests"][-1]["contestants"]
for name, found in contestants.items():
    print(f"{name:15} {found['score']:.3f}")
