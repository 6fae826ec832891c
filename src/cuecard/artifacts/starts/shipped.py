"""Meta-learned starts that come with the package, found by the backbone's fingerprint."""

from __future__ import annotations

from pathlib import Path

from cuecard.artifacts.meta_init import MetaInit
from cuecard.errors import ConfigError, WrongBackboneError
from cuecard.types import Backbone

FOLDER = Path(__file__).parent


def shipped_start(backbone: Backbone) -> MetaInit:
    """The start that was learnt on a backbone.

    Raises:
        ConfigError: none is shipped for it.
    """
    known: list[str] = []
    for file in sorted(FOLDER.glob("*.safetensors")):
        found = MetaInit.load(file)
        try:
            found.check(backbone, file.name)
        except WrongBackboneError:
            known.append(file.stem)
        else:
            return found
    raise ConfigError(
        "no meta-learned start is shipped for this backbone",
        where="init meta",
        got=backbone.name,
        expected=", ".join(known) or "a file of `cuecard meta-init`",
        hint="learn one with `cuecard meta-init`, and give its file as --init-prompt",
    )
