from __future__ import annotations

from pathlib import Path

from cuecard.artifacts import Prompt
from cuecard.backbones.loading import load_frozen
from support.command_line import Call


def test_the_ranking(cuecard: Call, run: Path, backbone: Path, tmp_path: Path) -> None:
    own = Prompt.load(run / "prompt")
    model = load_frozen(backbone, name=str(backbone))
    for name, sign in (("far", -1), ("near", 2)):
        manifest = own.manifest
        Prompt.create(
            own.vectors * sign,
            backbone=model,
            spec=own.spec,
            method="prompt-tuning",
            method_config=manifest.method_config,
            slot="prefix",
        ).save(tmp_path / name)
    found = cuecard("nearest", run, tmp_path, run, "--json").json
    assert [Path(one["folder"]).name for one in found["nearest"]] == ["near", "far"]
    assert found["skipped"] == [] and found["nearest"][0]["mean"] > 0.99
    shown = cuecard("nearest", run, tmp_path, "--count", 1).out
    assert "near" in shown and "far" not in shown
    done = cuecard("nearest", run, tmp_path / "nowhere")
    assert done.code == 2 and "no such folder" in done.err
