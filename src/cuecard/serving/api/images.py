"""The images of a request: from base64 or a file to what the engine takes in."""

from __future__ import annotations

import asyncio
import binascii
import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from cuecard.engine.protocol import PreparesImages
from cuecard.errors import DataError, ImageTooLargeError
from cuecard.images import ImageLimits
from cuecard.serving.protocol.errors import APIError, bad_request
from cuecard.types import Image

Sent = str | bytes
"""An image as base64 or a data URL, or as its file."""

# A large image takes several hundred megabytes while it is decoded.
_THREADS = 2
_DATA_URL = re.compile(r"data:image/[\w.+-]{1,64}(;[\w.+=-]{1,64}){0,4};base64,", re.IGNORECASE)
_URL = re.compile(r"\s*[a-z][a-z0-9+.-]{0,20}:", re.IGNORECASE)
_SPACE = b" \t\r\n"


class ImageReader:
    """Decodes images on threads of its own.

    Args:
        images: the engine's.
        limits: what an image may have at most.
    """

    def __init__(self, images: PreparesImages, limits: ImageLimits) -> None:
        self._images, self._limits = images, limits
        self._pool = ThreadPoolExecutor(_THREADS, "cuecard-images")

    async def read(self, places: Mapping[Sent, str]) -> dict[Sent, Image]:
        """Every image, prepared for the engine; after a bad one no other is begun.

        Args:
            places: image -> where it stands in the request, such as "input.3".

        Raises:
            APIError: the first that cannot be read, by its place.
        """
        failed = threading.Event()

        def prepared(sent: Sent, place: str) -> Image | None:
            try:
                return None if failed.is_set() else self._prepared(sent, place)
            except BaseException:
                failed.set()
                raise

        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(self._pool, prepared, *each) for each in places.items()]
        found = await asyncio.gather(*jobs, return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException):
                raise each
        pairs = zip(places, found, strict=True)
        return {sent: image for sent, image in pairs if isinstance(image, Image)}

    def _prepared(self, sent: Sent, place: str) -> Image:
        try:
            return self._images.prepare(Image(self._content(sent, place)), place, self._limits)
        except ImageTooLargeError as error:
            raise APIError(413, "image_too_large", _told(error, place), param=place) from error
        except DataError as error:
            raise bad_request(_told(error, place), place, "invalid_image") from error

    def _content(self, sent: Sent, place: str) -> bytes:
        """An image's file.

        Raises:
            APIError: a URL elsewhere, or neither base64 nor a data URL.
        """
        if isinstance(sent, bytes):
            content = sent
        else:
            inline = _DATA_URL.match(sent)
            if inline is None and _URL.match(sent):
                raise bad_request(
                    f"'{place}' is a URL, and none is fetched: send the image itself, as base64, "
                    "as data:image/...;base64,... or in a form.",
                    place,
                    "image_not_fetched",
                )
            content = _decoded(sent[inline.end() :] if inline else sent, place)
        if not content:
            raise bad_request(f"'{place}' is empty.", place, "empty_input")
        return content


def _decoded(text: str, place: str) -> bytes:
    try:
        plain = text.encode("ascii").translate(None, _SPACE)
        return binascii.a2b_base64(plain, strict_mode=True)
    except (UnicodeEncodeError, binascii.Error):
        raise bad_request(
            f"'{place}' must be an image: base64, data:image/...;base64,... or a file in a form; "
            f"got a text of {len(text)} characters that is not base64.",
            place,
            "invalid_image",
        ) from None


def _told(error: DataError, place: str) -> str:
    got = "" if error.got is None else f": got {error.got}"
    expected = "" if error.expected is None else f"; expected {error.expected}"
    return f"'{place}': {error.what}{got}{expected}."
