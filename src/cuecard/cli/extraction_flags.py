"""Options of the commands that have an LLM extract: texts, types, the LLM, its budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cuecard.catalogue.entries import BACKBONES
from cuecard.cli.fields import Flag
from cuecard.cli.llm_flags import llm_flags
from cuecard.errors import ConfigError

TEXT_FLAGS = {
    "gold": Flag(metavar="FILE"),
    "corpus": Flag("--corpus", metavar="PATH"),
    "root": Flag(metavar="FOLDER"),
    "chunk_size": Flag(),
    "types": Flag(metavar="TYPE,TYPE"),
    "type_names": Flag("--type-name", metavar="TYPE=NAME"),
    "limit": Flag(),
    "seed": Flag(),
}
TITLES = {
    **dict.fromkeys(TEXT_FLAGS, "Texts"),
    **dict.fromkeys(("llm", "budget", "max_tokens"), "LLM"),
    "writer": "LLM that writes",
}

EXTRACTOR_FLAGS = llm_flags(
    Flag(
        "--llm",
        metavar="MODEL",
        help="The LLM that extracts: a model of the catalogue or a local folder, which runs in "
        "this process, or one of an endpoint, as it is called there.",
        optional=True,
        names=lambda _: BACKBONES,
    )
)


def named_paths(texts: Sequence[str]) -> dict[str, str]:
    """PATH or NAME=PATH texts as a mapping; a path's own name is that of the file or folder.

    Raises:
        ConfigError: two of one name.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals:
            name, path = Path(text).stem, text
        if name in found:
            raise ConfigError(
                "two prompts have one name",
                where=text,
                got=name,
                expected="NAME=PATH with names of their own",
            )
        found[name] = path
    return found
