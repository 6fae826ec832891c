"""Scores by name: what they are worth, and what is refused."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

from cuecard.errors import ConfigError, CuecardError, DataError
from cuecard.lazy import lazy_module
from cuecard.metrics.scores import RowScores
from cuecard.types import Record

ROW = Record({"text": "two and two"}, "4", "sums.csv", 7)
METRICS = """
import math

def length(answer, target, record):
    return len(answer) / len(record["text"])

class Graded:
    @staticmethod
    def same(answer, target, record):
        return answer == target

def fails(answer, target, record):
    return 1 / 0

def nothing(answer, target, record):
    pass

def large(answer, target, record):
    return 1.5

def text(answer, target, record):
    return "0.5"

def nan(answer, target, record):
    return math.nan

LIMIT = 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a user's module and a schema."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_metrics", raising=False)
    (tmp_path / "own_metrics.py").write_text(METRICS)
    (tmp_path / "breaks.py").write_text("raise RuntimeError('no licence')")
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    (tmp_path / "bad.json").write_text('{"type": "nothing"}')
    (tmp_path / "torn.json").write_text('{"type": ')
    (tmp_path / "away.json").write_text('{"$ref": "http://127.0.0.1:9/x.json"}')
    return tmp_path


@pytest.mark.parametrize(
    ("name", "target", "answer", "score"),
    [
        ("exact_match", "The sum.", "sum", 1.0),
        ("token_f1", "red car", "red bus", 0.5),
        ("rouge_l", "a b c d", "a b", 2 / 3),
        (r"regex:\d", "", "it is 4", 1.0),
        (r"regex:\d", "", "it is four", 0.0),
        (r"regex:is (\d+)", "4", "it is 4.", 1.0),
        (r"regex:is (\d+)", "4", "it is 5.", 0.0),
        (r"regex:is (\d+)", "4", "4", 0.0),
        (r"regex:#### (\d+)", "2 + 2 = 4 #### 4", "so #### 4", 1.0),
        (r"regex:is (\d+)|no", "", "no", 0.0),
        ("regex:a:b", "", "a:b", 1.0),
        ("json-schema:schema.json", "", '{"n": 4}', 1.0),
        ("json-schema:schema.json", "", '{"n": "4"}', 0.0),
        ("json-schema:schema.json", "", '```json\n{"n": 4}\n```', 0.0),
        ("json-schema:schema.json", "", '{"n": NaN}', 0.0),
        ("json-schema:schema.json", "", "[" * 100_000, 0.0),
        ("own_metrics:length", "", "two a", 5 / 11),
        ("own_metrics:Graded.same", "4", "4", 1.0),
    ],
)
def test_worth(here: Path, name: str, target: str, answer: str, score: float) -> None:
    (found,) = RowScores(name)([ROW], [target], [answer])
    assert found == pytest.approx(score)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("accuracy", "there is no such score"),
        ("rouge", "there is no such score"),
        ("regex:", "there is no such score"),
        ("not a module:x", "there is no such score"),
        ("os:../x", "there is no such score"),
        ("regex:(", "the score's pattern cannot be read"),
        ("json-schema:missing.json", "the score's schema cannot be read"),
        ("json-schema:bad.json", "not a JSON schema"),
        ("json-schema:torn.json", "not a JSON schema"),
        ("json-schema:away.json", "not a JSON schema"),
        ("no_such_module:x", "cannot be imported"),
        ("own_metrics:missing", "cannot be imported"),
        ("breaks:x", "no licence"),
        ("own_metrics:LIMIT", "is not a function"),
    ],
)
def test_names_that_are_refused(here: Path, name: str, what: str) -> None:
    with pytest.raises(CuecardError, match=what) as caught:
        RowScores(name)
    assert caught.value.exit_code == 2 and not isinstance(caught.value, DataError)


@pytest.mark.parametrize(
    ("name", "got"),
    [
        ("fails", "ZeroDivisionError"),
        ("nothing", "None"),
        ("large", "1.5"),
        ("text", "'0.5'"),
        ("nan", repr(math.nan)),
    ],
)
def test_functions_that_return_nonsense_say_which_row(here: Path, name: str, got: str) -> None:
    with pytest.raises(DataError) as caught:
        RowScores(f"own_metrics:{name}")([ROW], ["4"], ["5"])
    assert caught.value.where == f"own_metrics:{name}, sums.csv, row 7"
    assert got in str(caught.value.got)


def test_a_pattern_that_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cuecard.metrics.scores.pattern._SECONDS", 0.05)
    with pytest.raises(DataError, match="takes too long"):
        RowScores(r"regex:^(a|aa|aaa)+$")([ROW], [""], ["a" * 60 + "b"])


def test_the_package_for_schemas_is_named_where_it_is_missing(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = lazy_module("no_such_package")
    monkeypatch.setattr("cuecard.metrics.scores.json_schema.jsonschema_rs", missing)
    with pytest.raises(ConfigError, match="a package that is not there"):
        RowScores("json-schema:schema.json")
