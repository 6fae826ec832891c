"""Does the engine give the scores that were saved with a prompt?

`Prompt.load` asks a backbone; this asks an engine, whatever it runs, through the way that requests
take. It knows nothing of the engine's numbers, so it allows what the coarsest type's rounding does.
"""

from __future__ import annotations

from cuecard.artifacts.manifest import Coordinates
from cuecard.artifacts.probes import TOLERANCE
from cuecard.errors import ArtifactError, ConfigError
from cuecard.serving.engine import Engine, Scoring
from cuecard.serving.shelf import Served
from cuecard.types import Encoded

_ALLOWED = max(TOLERANCE.values())


async def check_scores(engine: Engine, served: Served) -> None:
    """Run a prompt's test vectors and compare.

    Raises:
        ArtifactError: other scores than were saved.
        ConfigError: a prompt that scores nothing: it turns texts into vectors, or stands in several
            places of its template.
        CuecardError: a test vector that the engine cannot take.
    """
    rows, wanted = [], []
    for vector in served.prompt.manifest.test_vectors:
        if isinstance(vector.expected, Coordinates):
            raise ConfigError("it turns texts into vectors, which is not served")
        if vector.more:
            raise ConfigError(
                "a prompt in several places of its template cannot be served",
                where=str(served),
                got=f"{1 + len(vector.more)} places",
                expected="one",
            )
        words = tuple((token,) for token in vector.expected.token_ids)
        row = Encoded(vector.context, (), vector.slot, mask=vector.mask)
        rows.append(Scoring(served.held, row, words))
        wanted.append(vector.expected.logprobs)
    for expected, found in zip(wanted, await engine.score(rows), strict=True):
        off = max(abs(a - b) for a, b in zip(found, expected, strict=True))
        # Written so that NaN fails.
        if not off <= _ALLOWED:
            raise ArtifactError(
                "the prompt does not answer as it did when it was saved",
                where=str(served),
                got=f"log-probabilities that differ by up to {off:.3g}",
                expected=f"at most {_ALLOWED:g}",
            )
