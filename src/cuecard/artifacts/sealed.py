"""JSON documents that hold a digest of their own content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cuecard.errors import ArtifactError
from cuecard.validation_text import first_problem

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]


class StrictModel(BaseModel):
    """A model that accepts exactly its fields, of exactly their types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Sealed(StrictModel):
    """A whole document."""

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON of `sealed_content`."""
        content = self.sealed_content()
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()

    def sealed_content(self) -> dict[str, Any]:
        """What the digest is of."""
        return self.model_dump(mode="json")

    @classmethod
    def of_document(cls, document: Mapping[str, Any], where: str) -> Self:
        """Parse a document and check its digest.

        Raises:
            ArtifactError: missing, unknown or wrong fields, or content that does not match its
                digest.
        """
        fields = dict(document)
        digest = fields.pop("digest", None)
        try:
            # Through JSON: strict mode takes a JSON array for a tuple, but not a Python list.
            found = cls.model_validate_json(json.dumps(fields))
        except ValidationError as error:
            raise ArtifactError(
                "the manifest has an invalid field", where=where, got=first_problem(error)
            ) from error
        if digest != found.digest:
            raise ArtifactError(
                "the manifest was altered: its content does not match its digest",
                where=where,
                got=found.digest,
                expected=digest if digest is not None else "a digest",
            )
        return found
