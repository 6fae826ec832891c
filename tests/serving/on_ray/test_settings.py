from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cuecard.errors import ConfigError
from cuecard.ray_cluster import import_ray
from cuecard.serving.on_ray.application import build
from cuecard.serving.on_ray.settings import BUILDER, RayApplication, RaySettings, config_text
from cuecard.serving.settings import ServedBackbone, ServerSettings
from support.needs_ray import needs_ray

NAMED = "smollm2-135m-instruct"


def application(**server: Any) -> RayApplication:
    return RayApplication(
        registry="prompts",
        served=ServedBackbone(backbone=NAMED, quantize="int8"),
        server=ServerSettings(host="0.0.0.0", keys=Path("keys.json"), poll=0.5, **server),
        ray=RaySettings(replicas=3, cpus=4),
    )


def test_fewer_replicas_at_most_than_always() -> None:
    RaySettings(replicas=3, max_replicas=3).check()
    RaySettings(replicas=3).check()
    with pytest.raises(ConfigError, match="more replicas than there may be") as refused:
        RaySettings(replicas=3, max_replicas=2).check()
    assert refused.value.where == "--max-replicas"


def test_paths_are_absolute_and_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = application(cache=Path("kept")).anywhere()
    assert found.registry == str(tmp_path / "prompts")
    assert found.server.keys == tmp_path / "keys.json"
    assert found.server.cache == tmp_path / "kept"
    assert found.served.backbone == NAMED
    assert found.anywhere() == found
    for name, expected in (("tiny", str(tmp_path / "tiny")), (NAMED, NAMED), ("far/tiny",) * 2):
        (tmp_path / name.partition("/")[0]).mkdir()
        served = ServedBackbone(backbone=name)
        moved = application().model_copy(update={"served": served}).anywhere()
        assert moved.served.backbone == expected
    there = application().model_copy(update={"registry": "s3://bucket/prompts"})
    assert there.anywhere().registry == "s3://bucket/prompts"


def test_a_file_for_serve_deploy() -> None:
    asked = application()
    config = yaml.safe_load(config_text(asked, "prompts"))
    assert config["http_options"] == {"host": "0.0.0.0", "port": 8000}
    (each,) = config["applications"]
    assert (each["name"], each["import_path"]) == ("prompts", BUILDER)
    assert RayApplication.model_validate(each["args"]) == asked


@needs_ray
@pytest.mark.filterwarnings("ignore")
def test_ray_reads_the_file_and_builds_of_it() -> None:
    schema = import_ray("ray.serve.schema")
    config = schema.ServeDeploySchema.model_validate(
        yaml.safe_load(config_text(application(), "prompts"))
    )
    assert config.applications[0].name == "prompts"
    (each,) = yaml.safe_load(config_text(application(), "prompts"))["applications"]
    built = build(RayApplication.model_validate(each["args"]))
    replica = built._bound_deployment
    assert (replica.name, replica.num_replicas) == ("PromptReplica", 3)
    assert replica.ray_actor_options["num_cpus"] == 4
    assert replica.init_args[1:]  # the deployment that counts for all
    counted = application(quotas="redis://127.0.0.1:6379")
    assert not build(counted)._bound_deployment.init_args[1:]  # Redis does
    scaled = application().model_copy(update={"ray": RaySettings(replicas=1, max_replicas=4)})
    scaling = build(scaled)._bound_deployment._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (1, 4)
