"""Alerts and the dashboard: every metric that they ask for is one that a server exports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.installs import ROOT
from support.serving.process import Process

MONITORING = ROOT / "deploy" / "monitoring"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
RULES = [
    rule
    for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
LABEL = re.compile(r"\b([a-z_]+)\s*(?:=~|!=|!~|=)\s*\"")
BY = re.compile(r"\bby \(([a-z_, ]+)\)")
# What Prometheus adds to what it scrapes.
OF_PROMETHEUS = {"job", "instance", "le"}


def queries() -> Iterator[str]:
    yield from (rule["expr"] for rule in RULES)
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])


@pytest.fixture(scope="module")
def exported(server: Process) -> dict[str, set[str]]:
    """Metric -> the labels that it has."""
    _, text = server.call("/metrics")
    found: dict[str, set[str]] = {}
    for line in text.decode().splitlines():
        sample = re.match(r"([a-z_:]+)(?:\{(.*)\})? ", line)
        if sample is not None:
            labels = re.findall(r"([a-z_]+)=\"", sample.group(2) or "")
            found.setdefault(sample.group(1), set()).update(labels)
    return found


@pytest.mark.integration
@pytest.mark.parametrize("query", list(queries()))
def test_what_is_asked_for_is_exported(query: str, exported: dict[str, set[str]]) -> None:
    names = re.findall(r"\bcuecard_[a-z_]+", query)
    assert names or query.startswith("up{")
    assert set(names) <= exported.keys()
    asked = {label for part in BY.findall(query) for label in re.split(r", *", part)}
    asked |= set(LABEL.findall(query))
    there = {label for name in names for label in exported[name]}
    assert asked - OF_PROMETHEUS <= there


@pytest.mark.integration
def test_the_page_on_serving_names_what_is_exported(exported: dict[str, set[str]]) -> None:
    page = (ROOT / "docs" / "serving.md").read_text()
    table = page.split("## Metrics")[1].split("\n## ")[0]
    known = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in exported}
    named = set(re.findall(r"`(cuecard_[a-z_]+)`", table))
    assert len(named) > 15 and named <= known


def test_every_alert_says_how_bad_it_is_and_where_help_is() -> None:
    headings = [line.lstrip("# ") for line in RUNBOOK.splitlines() if line.startswith("#")]
    anchors = {re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in headings}
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/runbook.md" and anchor in anchors, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert f"`{rule['alert']}`" in RUNBOOK
    assert set(re.findall(r"`(Cuecard[A-Z]\w+)`", RUNBOOK)) == set(names)


def test_the_dashboard_can_be_drawn() -> None:
    (source,) = yaml.safe_load(
        (MONITORING / "provisioning" / "datasources" / "prometheus.yaml").read_text()
    )["datasources"]
    panels: list[dict[str, Any]] = DASHBOARD["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["datasource"]["uid"] == source["uid"] for panel in panels)
