# %% [markdown]
# # Search for a hard prompt
#
# Words instead of vectors: an instruction, solved examples and label words, chosen by how
# training rows are answered. They can be read, and used with any model.

# %%
import random
from pathlib import Path

import cuecard

GOOD, BAD = ["warm", "funny", "true"], ["cold", "dull", "false"]
rng = random.Random(0)
lines = ["text,label"]
for n in range(80):
    label, words = [("negative", BAD), ("positive", GOOD)][n % 2]
    lines.append(f"the film is {rng.choice(words)} in scene {n},{label}")
Path("reviews.csv").write_text("\n".join(lines))

# %% [markdown]
# Every row that the model answers is a call, and the budget is in calls. The searcher
# `demonstrations` tries sets of solved rows; `auto` lets all that work here take turns.

# %%
recipe = cuecard.SearchRecipe.parse(
    {
        "recipe": {
            "data": {"path": "reviews.csv"},
            "task": {"template": "Review: {text}\nSentiment:"},
            "backbone": "smollm2-135m-instruct",
            "out": "runs/words",
        },
        "searcher": "demonstrations",
        "budget": "1200 calls",
    }
)
outcome = cuecard.run_search(recipe)
print(outcome.template)

# %%
outcome.start.score, outcome.test.score

# %% [markdown]
# The words are a prompt without vectors: it is loaded, pushed and served like the others.

# %%
words = cuecard.load("runs/words", backbone="smollm2-135m-instruct")
words.predict(["the film is warm and true"])[0].answer
