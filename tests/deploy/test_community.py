"""Files for a forge: workflows, updates of dependencies, citation, security."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.installs import PROJECT, ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
CHANGES = "# Changelog\n\n## [{}]\n\n- one\n\n## [0.0.1]\n\n- none\n"


def read(path: Path) -> dict[Any, Any]:
    found = yaml.safe_load(path.read_text())
    assert isinstance(found, dict), path
    return found


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def scripts(workflow: dict[Any, Any]) -> str:
    return "\n".join(step.get("run", "") for step in steps(workflow))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_one(path: Path) -> None:
    workflow = read(path)
    assert workflow[True], "YAML 1.1 takes `on` for true"
    assert workflow["permissions"] == {"contents": "read"}  # jobs ask for more by themselves
    for job in workflow["jobs"].values():
        assert job["runs-on"] and 0 < job["timeout-minutes"] <= 90
        assert {*([job["needs"]] if "needs" in job else [])} <= workflow["jobs"].keys()
    for step in steps(workflow):
        assert ("uses" in step) is not ("run" in step), step
        assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step.get("uses", "a/b@v1"))
        # What a stranger may write, such as a pull request's title, is no part of a script.
        assert not re.search(r"\$\{\{\s*github\.(event|head_ref)", step.get("run", ""))
    for target in re.findall(r"\bmake (?:[A-Z]+=\S+ )*([\w-]+)", scripts(workflow)):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
    for extras in re.findall(r"'\.\[([\w,]+)\]'", scripts(workflow)):
        assert {*extras.split(",")} <= PROJECT["optional-dependencies"].keys()


def test_tests_run_on_every_python_and_on_both_ends_of_the_bounds() -> None:
    jobs = read(GITHUB / "workflows" / "tests.yml")["jobs"]
    pythons = jobs["locked"]["strategy"]["matrix"]["python"]
    said = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: 3." in line]
    assert pythons == said and f">={pythons[0]}" == PROJECT["requires-python"]
    ends = jobs["bounds"]["strategy"]["matrix"]["include"]
    assert [(end["python"], end["resolution"]) for end in ends] == [
        (pythons[0], "lowest-direct"),
        (pythons[-1], "highest"),
    ]


@pytest.mark.parametrize(
    ("tag", "repository", "change_log", "fault"),
    [
        ("v{}", "{}", CHANGES, ""),
        ("v9.9.9", "{}", CHANGES, "the tag is not v"),
        ("v{}", "somebody/else", CHANGES, "pyproject.toml names"),
        ("v{}", "{}", "## [Unreleased]\n", "CHANGELOG.md has no part for it"),
    ],
)
def test_only_this_release_is_published(
    tag: str, repository: str, change_log: str, fault: str, tmp_path: Path
) -> None:
    """The check runs as the workflow has it."""
    script = scripts(read(GITHUB / "workflows" / "release.yml"))
    (check,) = re.findall(r"<<'EOF'\n(.*?)\nEOF", script, re.DOTALL)
    version, address = PROJECT["version"], PROJECT["urls"]["Repository"]
    server, _, name = address.partition(".com/")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (tmp_path / "CHANGELOG.md").write_text(change_log.format(version))
    variables = {
        "GITHUB_REF_NAME": tag.format(version),
        "GITHUB_REPOSITORY": repository.format(name),
        "GITHUB_SERVER_URL": f"{server}.com",
    }
    done = subprocess.run(
        [sys.executable, "-c", check],
        env=os.environ | variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert fault in done.stderr and (done.returncode == 0) is (fault == ""), done.stderr


def test_a_release_has_its_part_of_the_change_log(tmp_path: Path) -> None:
    script = scripts(read(GITHUB / "workflows" / "release.yml"))
    (line,) = re.findall(r"^awk .*$", script, re.MULTILINE)
    (tmp_path / "CHANGELOG.md").write_text(CHANGES.format("1.2.0"))
    subprocess.run(
        ["bash", "-euc", f"version=1.2.0\n{line}"], cwd=tmp_path, check=True, capture_output=True
    )
    assert (tmp_path / "notes.md").read_text().split() == ["-", "one"]


def test_what_is_published_is_attested() -> None:
    jobs = read(GITHUB / "workflows" / "release.yml")["jobs"]
    used = {
        name: [step.get("uses", "").partition("@")[0] for step in job["steps"]]
        for name, job in jobs.items()
    }
    assert "actions/attest-build-provenance" in used["build"]
    assert "pypa/gh-action-pypi-publish" in used["publish"]
    assert jobs["build"]["permissions"]["attestations"] == "write"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}


def test_updates_look_where_something_is() -> None:
    settings = read(GITHUB / "dependabot.yml")
    assert settings["version"] == 2
    found = {each["package-ecosystem"]: each for each in settings["updates"]}
    assert found.keys() == {"pip", "github-actions", "docker"}
    assert (ROOT / found["docker"]["directory"].strip("/") / "Dockerfile").is_file()
    locked = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    for group in found["pip"]["groups"].values():
        plain = {name for name in group["patterns"] if "*" not in name}
        assert plain <= locked, plain - locked


def test_the_citation_is_of_this_version() -> None:
    cited = read(ROOT / "CITATION.cff")
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software"
    assert cited["title"] == PROJECT["name"] and cited["version"] == PROJECT["version"]
    assert cited["license"] == PROJECT["license"]
    assert cited["repository-code"] == PROJECT["urls"]["Repository"]
    assert [one["name"] for one in cited["authors"]] == [one["name"] for one in PROJECT["authors"]]


def test_one_address_everywhere() -> None:
    address = PROJECT["urls"]["Repository"]
    owner = address.rpartition("/")[0]
    for name in ("SECURITY.md", "CITATION.cff", "pyproject.toml", "README.md"):
        for found in re.findall(r"https://github\.com/[\w-]+/cuecard\b", (ROOT / name).read_text()):
            assert found == f"{owner}/cuecard" == address, name
    for name in ("SECURITY.md", "README.md"):
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / name).read_text()):
            assert (ROOT / link).exists(), f"{name}: {link}"
