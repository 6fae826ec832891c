"""What goes wrong behind the protocol, as a client is told."""

from __future__ import annotations

from cuecard.errors import CuecardError, EngineError
from cuecard.serving.protocol.errors import Refusal


def as_refusal(error: CuecardError) -> Refusal:
    """A request that does not fit is the client's; a failing engine is not."""
    if isinstance(error, EngineError):
        return Refusal(503, "engine_failed", "The engine failed.", retry_after=5)
    message = error.what if error.expected is None else f"{error.what}; expected {error.expected}"
    return Refusal(400, "invalid_value", f"{message}.", param=error.where)
