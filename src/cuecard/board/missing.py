"""What an address asks for and is not there."""

from __future__ import annotations

from cuecard.errors import CuecardError


class MissingError(CuecardError):
    """No such run, prompt, job or file: a page with status 404."""
