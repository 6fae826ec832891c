"""`pip install cuecard`, without extras: prompts answer, and what trains says what it needs.

Serving with `cuecard[serve]` alone is tests/deploy/test_images.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cuecard.names import load_backbone
from support.command_line import save_rows, save_tiny
from support.data.reviews import SPEC
from support.installs import ROOT, link_packages
from support.random_prompts import random_prompt

# One process, as torch takes seconds to import: the library, then commands as the shell runs them.
SCRIPT = """
import json, sys
from pathlib import Path
import cuecard
from cuecard.cli.main import main
from cuecard.lazy import EXTRAS

room = Path(sys.argv[1])
def refusal(call):
    try:
        call()
    except cuecard.CuecardError as error:
        return error.to_dict()

(answer,) = cuecard.load(room / "prompt", backbone=room / "tiny").predict(["a warm film"])
backbone = cuecard.load_backbone(room / "tiny")
task = cuecard.Task.from_file(room / "rows.csv", template="{text}\\nSentiment:")
method = cuecard.PromptTuning(length=2)
steps = cuecard.TrainConfig(steps=2)
found = {
    "answer": answer.answer,
    "train": refusal(lambda: cuecard.train(backbone, task, method, steps)),
    "evaluate": refusal(lambda: cuecard.evaluate(backbone, task.spec, task.test)),
    "parquet": refusal(lambda: cuecard.Task.from_file(room / "rows.parquet", template="{text}")),
    "hub": refusal(lambda: cuecard.Task.from_file("owner/name", template="{text}")),
    "commands": {},
}
for words in json.loads(sys.argv[2]):
    try:
        main(words)
    except SystemExit as end:
        found["commands"][words[0]] = end.code
found["imported"] = [name for name in EXTRAS if name in sys.modules]
(room / "found.json").write_text(json.dumps(found))
"""


@pytest.mark.integration
def test_prompts_answer_and_training_names_its_extra(tmp_path: Path) -> None:
    packages = link_packages(tmp_path / "packages")
    backbone = load_backbone(save_tiny(tmp_path / "tiny"), dtype="fp32")
    prompt = random_prompt(backbone, spec=SPEC).save(tmp_path / "prompt")
    rows = [{"text": f"film {n}", "label": "ab"[n % 2]} for n in range(40)]
    data = str(save_rows(tmp_path / "rows.csv", rows))
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    tiny = ("--backbone", str(tmp_path / "tiny"))
    commands = [
        ["predict", str(prompt), "a warm film", *tiny, "--json"],
        ["inspect", str(prompt), *tiny],
        ["train", data, *tiny, "--json"],
        ["search", "--help"],
        ["eval", str(prompt), data, *tiny],
    ]
    variables = {"PYTHONPATH": f"{packages}:{ROOT / 'src'}", "CUECARD_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", SCRIPT, str(tmp_path), json.dumps(commands)],
        env=os.environ | variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["imported"] == [] and found["answer"] in ("negative", "positive")
    for asked in ("train", "evaluate", "parquet", "hub"):
        refused = found[asked]
        assert refused["error"] == "ConfigError", (asked, refused)
        assert refused["expected"] == "pip install 'cuecard[train]'"
    codes = {"predict": 0, "inspect": 0, "train": 2, "search": 0, "eval": 2}
    assert found["commands"] == codes, done.stderr
    assert "`cuecard eval` needs libraries that are not installed" in done.stderr
    assert not (tmp_path / "runs").exists()
