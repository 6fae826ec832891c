# %% [markdown]
# # Compile a long text
#
# A text that stands in front of every request is read by the model once, and becomes a short
# prompt that answers alike.

# %%
import json
from pathlib import Path

import cuecard

HANDBOOK = """Refunds are paid within five days. Orders above 50 ship for free.
Lost parcels are sent again. Gift cards cannot be paid out. Support answers on weekdays.
"""
WHAT = ["a refund", "my parcel", "a gift card", "an order", "the shipping", "support"]
HOW = ["when do I get", "how does it work with", "who pays for", "what about", "can I return"]
Path("handbook.md").write_text(HANDBOOK)
Path("questions.txt").write_text("".join(f"{how} {what}?\n" for how in HOW for what in WHAT))

# %% [markdown]
# No labels are needed: the model with the whole text in front is the teacher. The prompt takes 8
# positions in its place.

# %%
recipe = cuecard.CompileRecipe.parse(
    {
        "text": "handbook.md",
        "inputs": "questions.txt",
        "template": "{prompt}\n\nQuestion: {text}\nAnswer:",
        "max_new_tokens": 8,
        "backbone": "smollm2-135m-instruct",
        "compiling": {"into": [8]},
        "training": {"steps": 40},
        "out": "runs/handbook",
    }
)
cuecard.run_compile({"handbook": recipe}, Path("runs/handbook"))
report = json.loads(Path("runs/handbook/report.json").read_text())

# %% [markdown]
# How often each way to shorten the text writes the token that the full text would have written:

# %%
for row in report["rows"]:
    print(f"{row['prompt']:22} {row['length']:4} positions  {row['agreement']:.3f}")

# %% [markdown]
# It is a prompt like any other.

# %%
handbook = cuecard.load("runs/handbook", backbone="smollm2-135m-instruct")
handbook.generate(["when do I get a refund?"])
