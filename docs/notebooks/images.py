# %% [markdown]
# # Images
#
# A frozen vision encoder and a few trained vectors in every layer (visual prompt tuning) tell
# classes apart. The pictures here are drawn; yours are a folder with a folder for each class.

# %%
import random
from pathlib import Path

from PIL import Image, ImageDraw

import cuecard

rng = random.Random(0)


def drawn(shape):
    """A round or a square spot somewhere."""
    picture = Image.new("RGB", (64, 64), tuple(rng.randrange(90) for _ in "rgb"))
    x, y, size = rng.randrange(30), rng.randrange(30), rng.randrange(16, 34)
    draw = ImageDraw.Draw(picture)
    spot = draw.ellipse if shape == "round" else draw.rectangle
    spot((x, y, x + size, y + size), fill=tuple(rng.randrange(150, 256) for _ in "rgb"))
    return picture


for shape in ("round", "square"):
    Path("spots", shape).mkdir(parents=True)
    for number in range(40):
        drawn(shape).save(Path("spots", shape, f"{number}.png"))

# %%
task = cuecard.Task.from_file("spots", kind="image-classification")
backbone = cuecard.load_backbone("dinov2-small")
run = cuecard.train(
    backbone,
    task,
    cuecard.METHODS["deep-prompts"](length=4),
    cuecard.TrainConfig(steps=30),
)
run

# %% [markdown]
# Pictures are asked as files, bytes, arrays, or Pillow's images.

# %%
spots = run.prompt.bind(backbone)
[answer.answer for answer in spots.predict([drawn("round"), drawn("square")])]
