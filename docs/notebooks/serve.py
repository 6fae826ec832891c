# %% [markdown]
# # Serve and call
#
# A trained prompt under a name, served over HTTP, called by OpenAI's client, and moved to
# production.

# %%
import json
import random
import subprocess
import sys

from openai import OpenAI

import cuecard
from cuecard.registry import Registry

backbone = cuecard.load_backbone("smollm2-135m-instruct")
GOOD, BAD = ["warm", "funny", "true"], ["cold", "dull", "false"]
rng = random.Random(0)
rows = [
    {"text": f"the film is {rng.choice([BAD, GOOD][n % 2])}, scene {n}", "label": f"{n % 2}"}
    for n in range(60)
]
task = cuecard.Task.from_data(rows, template="Review: {text}\nGood (1) or bad (0):")
run = cuecard.train(backbone, task, cuecard.PromptTuning(length=4), cuecard.TrainConfig(steps=20))
run.prompt.save("prompt")

# %% [markdown]
# A registry keeps versions; an alias says which one answers.

# %%
registry = Registry("prompts")
version = registry.push("prompt", "reviews")
registry.promote("reviews@1", "production")

# %% [markdown]
# The server, as a shell would start it. `--port 0` takes a free port, and the first line says
# which.

# %%
command = [sys.executable, "-m", "cuecard", "serve", "--registry", "prompts", "--port", "0"]
command += ["--backbone", "smollm2-135m-instruct", "--json"]
server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
url = json.loads(server.stdout.readline())["url"]

# %%
with OpenAI(base_url=f"{url}/v1", api_key="none") as client:
    answer = client.chat.completions.create(
        model="reviews@production",
        messages=[{"role": "user", "content": "the film is warm, scene 99"}],
    )
answer.model, answer.choices[0].message.content

# %% [markdown]
# The answer is the library's own.

# %%
alone = run.prompt.bind(backbone).predict(["the film is warm, scene 99"])[0].answer
assert alone == answer.choices[0].message.content

# %%
server.terminate()
server.communicate()
