# %% [markdown]
# # Classify from a CSV
#
# From a file of labelled texts to a prompt that labels new ones, in Python. The file here is made
# up; yours has a column of texts and a column of labels.

# %%
import csv
from itertools import product
from pathlib import Path

import cuecard

TEAMS = {
    "billing": ["I was charged twice", "my card was declined", "please refund the invoice"],
    "bug": ["the export button does nothing", "the app crashes", "the page stays blank"],
    "question": ["how do I invite people", "where is the setting", "can I change my name"],
}
WHEN = ["today", "again", "since Monday", "on my phone", "in the office", "after the update"]

with Path("tickets.csv").open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["message", "team"])
    for team, messages in TEAMS.items():
        writer.writerows([f"{said} {when}", team] for said, when in product(messages, WHEN))

# %% [markdown]
# A task is the data and a template. Rows are split by their content into training, validation and
# test rows.

# %%
task = cuecard.Task.from_file(
    "tickets.csv", text_field="message", label_field="team", template="Ticket: {text}\nTeam:"
)
len(task.train), len(task.validation), len(task.test)

# %% [markdown]
# The backbone stays as it is. What is trained are eight vectors in front of every text, and the
# best of them on validation rows are kept.

# %%
backbone = cuecard.load_backbone("smollm2-135m-instruct")
run = cuecard.train(
    backbone,
    task,
    cuecard.PromptTuning(length=8, init="text"),
    cuecard.TrainConfig(steps=60),
    folder="runs/tickets",
)
run

# %% [markdown]
# Is it worth it? The same test rows, answered by the commonest label, TF-IDF, and the best hand-
# written prompts. So few rows give wide intervals.

# %%
proof = cuecard.prove(backbone, task, run)
proof

# %% [markdown]
# The prompt is a folder. `cuecard.load` finds the backbone by itself; given one that is loaded
# already, it uses that.

# %%
run.prompt.save("tickets")
tickets = cuecard.load("tickets", backbone=backbone)
answers = tickets.predict(["my invoice is wrong", "nothing happens when I click"])
[(answer.answer, answer.probabilities) for answer in answers]
