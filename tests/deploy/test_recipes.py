"""Compose, the Helm chart and the commands of the pages: they parse, and fit the command line."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.cli_options import commands_in, unknown_options
from support.installs import ROOT

DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "cuecard"
TEMPLATES = {path.name: path.read_text() for path in (CHART / "templates").iterdir()}
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
PAGES = [ROOT / "docs" / "runbook.md", DEPLOY / "README.md"]
# Free in their keys.
OPEN = ("env", "resources", "nodeSelector")
SETTINGS = ["autoscaling.enabled=true,serviceMonitor.enabled=true,secrets.trust=keys"]
SETTINGS += ["autoscaling.enabled=true,autoscaling.queueRows=50,nodeSelector.disk=fast"]


def leaves(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in values.items():
        path = f"{above}{name}"
        if isinstance(value, dict) and value and path not in OPEN:
            yield from leaves(value, f"{path}.")
        else:
            yield path


def test_compose_runs_a_server_that_can_be_stopped() -> None:
    services, server = COMPOSE["services"], COMPOSE["services"]["server"]
    assert unknown_options(server["command"]) == []
    drain = int(server["command"][server["command"].index("--drain") + 1])
    assert int(server["stop_grace_period"].removesuffix("s")) > drain
    stages = re.findall(r"(?m)^FROM \S+ AS (\S+)", (DEPLOY / "Dockerfile").read_text())
    mounted = {path for one in services.values() for path in one.get("volumes", ())}
    for place in mounted:
        source = place.partition(":")[0]
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
        else:
            assert source in COMPOSE["volumes"], source
    for one in services.values():
        assert set(one.get("depends_on", ())) <= services.keys()
        if "build" in one:
            assert one["build"]["target"] in stages
        # Nothing is open to other machines.
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", ()))


def test_prometheus_finds_what_compose_mounts() -> None:
    config = yaml.safe_load((DEPLOY / "monitoring" / "prometheus.yaml").read_text())
    (job,) = config["scrape_configs"]
    mounts = COMPOSE["services"]["prometheus"]["volumes"]
    assert {path.split(":")[1] for path in mounts} >= {*config["rule_files"], "/keys"}
    assert job["static_configs"][0]["targets"] == ["server:8000"]
    keys = COMPOSE["services"]["keys"]["entrypoint"][-1]
    assert job["authorization"]["credentials_file"] in keys.split()


def test_the_chart_uses_each_of_its_values_and_no_other() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["name"] == CHART.name and chart["apiVersion"] == "v2"
    used = set(re.findall(r"\.Values\.([A-Za-z.]+)", "".join(TEMPLATES.values())))
    assert used == set(leaves(VALUES))


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_every_block_of_a_template_ends(name: str) -> None:
    words = re.findall(r"\{\{-? *(if|with|range|define|end)\b", TEMPLATES[name])
    depth = 0
    for word in words:
        depth += -1 if word == "end" else 1
        assert depth >= 0
    assert depth == 0
    assert TEMPLATES[name].count("{{") == TEMPLATES[name].count("}}")


def test_the_chart_starts_a_server_that_drains() -> None:
    text = TEMPLATES["deployment.yaml"]
    args = re.findall(r"^ +- \"?([^\n\"{]+)", text.split("args:")[1].split("env:")[0], re.MULTILINE)
    options = [word.strip() for word in args if word.startswith("--")]
    assert {"--keys", "--drain", "--serve", "--trust"} <= set(options)
    assert unknown_options(["serve", *options]) == []
    assert ".Values.drain.preStopSeconds .Values.drain.seconds 10" in text  # of grace
    for probe, path in (
        ("startup", "/healthz"),
        ("readiness", "/readyz"),
        ("liveness", "/healthz"),
    ):
        assert re.search(rf"{probe}Probe:\n +httpGet: {{path: {path},", text)


@pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")
@pytest.mark.parametrize("given", ["", *SETTINGS])
def test_helm_renders_the_chart(given: str, tmp_path: Path) -> None:
    words = ["helm", "template", "prompts", str(CHART), *(["--set", given] if given else [])]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {one["kind"]: one for one in yaml.safe_load_all(done.stdout) if one}
    assert {"Deployment", "Service", "PodDisruptionBudget"} <= found.keys()
    assert ("HorizontalPodAutoscaler" in found) == ("autoscaling" in given)
    pod = found["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert unknown_options(container["args"]) == []
    assert all(isinstance(word, str) for word in container["args"])
    assert pod["securityContext"]["runAsNonRoot"]
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pages_commands_are_commands(page: Path) -> None:
    found = list(commands_in(page.read_text()))
    assert len(found) >= 2
    assert [unknown_options(words) for words in found] == [[]] * len(found)
