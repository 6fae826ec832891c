"""A JSON schema that an answer is to follow."""

from __future__ import annotations

import json
from pathlib import Path

from cuecard.errors import ConfigError, FileError
from cuecard.lazy import lazy_module
from cuecard.types import Record

jsonschema_rs = lazy_module("jsonschema_rs")


class SchemaScore:
    """1.0 where all of the answer is JSON that follows the schema.

    Words around it, code fences among them, make it no JSON: what reads it would fail. Schemas at
    other addresses are not fetched.

    Args:
        path: of the schema, a JSON file.

    Raises:
        ConfigError: no schema in it, or the extra `search` is not installed.
        FileError: it cannot be read.
    """

    def __init__(self, path: str) -> None:
        try:
            schema = json.loads(Path(path).read_bytes())
            self._validator = jsonschema_rs.validator_for(schema, offline=True)
        except OSError as error:
            raise FileError.of(error, "the score's schema cannot be read", path) from error
        except ImportError as error:
            raise ConfigError(
                "scores by a JSON schema need a package that is not there",
                where=f"json-schema:{path}",
                got="no jsonschema-rs",
                expected="pip install 'cuecard[search]'",
            ) from error
        except ValueError as error:  # no JSON, or none that is a schema
            raise ConfigError(
                "the score's schema is not a JSON schema",
                where=path,
                got=str(error).splitlines()[0][:200],
                expected="a JSON file with a schema, all of it in this file",
            ) from error

    def __call__(self, answer: str, target: str, record: Record) -> float:
        """See the class."""
        try:
            value = json.loads(answer, parse_constant=_no_json)
        except (ValueError, RecursionError):
            return 0.0
        return float(self._validator.is_valid(value))


def _no_json(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
