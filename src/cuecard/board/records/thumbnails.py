"""Small pictures of a task's images, by their digests alone."""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from cuecard.board.records.index import RunPlace, Stamp
from cuecard.board.records.preview import read_quietly
from cuecard.errors import CuecardError
from cuecard.images import thumbnail
from cuecard.runs.recipe import Recipe
from cuecard.types import Image

SIDE = 96  # pixels
_MOST = 2_000
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class Thumbnails:
    """Pictures that pages have shown; the oldest are forgotten."""

    def __init__(self) -> None:
        self._known: dict[str, bytes] = {}
        self._lock = threading.Lock()
        # The images of the run that was looked at last: reading them again for each page is slow.
        self._run: tuple[tuple[str, Stamp], Mapping[str, Image]] = (("", None), {})

    def get(self, digest: str) -> bytes | None:
        """A PNG; None for an image that no page has shown."""
        with self._lock:
            return self._known.get(digest)

    def add(self, images: Iterable[Image]) -> None:
        """Make pictures of images; those that cannot be read have none."""
        for image in images:
            if self.get(image.digest) is not None:
                continue
            try:
                made = thumbnail(image, SIDE)
            except CuecardError:
                continue
            with self._lock:
                while len(self._known) >= _MOST:
                    self._known.pop(next(iter(self._known)))
                self._known[image.digest] = made

    def add_of_run(
        self, place: RunPlace, settings: Mapping[str, Any], wanted: Collection[str]
    ) -> None:
        """Make pictures of a run's test images, if its data are still there.

        Args:
            settings: the run's recipe.
            wanted: digests.
        """
        if place.kind is None or all(self.get(digest) is not None for digest in wanted):
            return
        key = (place.slug, place.stamp(place.kind.file))
        found, images = self._run
        if found != key:
            images = _test_images(settings)
            self._run = (key, images)
        self.add(images[digest] for digest in wanted if digest in images)


def digests_in(texts: Iterable[str]) -> list[str]:
    """The digests of images among fields' texts."""
    return [found[1] for text in texts if (found := _DIGEST.fullmatch(text))]


def _test_images(settings: Mapping[str, Any]) -> Mapping[str, Image]:
    """A run's test images by digest; none where its data cannot be read any more."""
    try:
        task, _ = read_quietly(Recipe.parse(settings))
    except CuecardError:
        return {}
    return {image.digest: image for record in task.test for image in record.images}
