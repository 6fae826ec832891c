"""Options of the commands that start servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cuecard.cli.fields import Fields, Flag
from cuecard.errors import ConfigError
from cuecard.serving.settings import ServerSettings

SERVER = Fields(
    ServerSettings,
    {
        "host": Flag(),
        "port": Flag(),
        "keys": Flag(metavar="FILE", envvar="CUECARD_KEYS"),
        "quotas": Flag(metavar="URL", envvar="CUECARD_QUOTAS"),
        "cors": Flag(metavar="ORIGIN", repeat=True),
        "system_messages": Flag(),
        "poll": Flag(metavar="SECONDS"),
        "versions": Flag("--serve"),
        "limits.max_body_bytes": Flag(),
        "limits.max_texts": Flag(),
        "limits.max_characters": Flag(),
        "limits.max_images": Flag(),
        "limits.max_image_bytes": Flag(),
        "limits.max_image_pixels": Flag(),
        "limits.max_image_frames": Flag(),
        "limits.max_new_tokens": Flag(),
        "limits.max_requests": Flag(),
        "limits.max_requests_per_key": Flag(),
        "limits.timeout": Flag(metavar="SECONDS"),
        "limits.drain": Flag(metavar="SECONDS"),
    },
    titles={"limits": "Limits"},
)


@contextmanager
def serving_packages(extra: str) -> Iterator[None]:
    """Import what serves, inside the block.

    Raises:
        ConfigError: the extra is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            "the packages for serving are not installed",
            got=error.name,
            hint=f"pip install 'cuecard[{extra}]'",
        ) from error
