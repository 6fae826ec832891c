"""Continuous batching on cuecard's own backbones: one thread computes, any number of callers wait.

Requests that arrive during a pass are in the next one; nobody waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cuecard.artifacts import Prompt
from cuecard.artifacts.prompt_backbone import check_backbone
from cuecard.backbones import (
    CausalBackbone,
    SegmentationBackbone,
    Seq2SeqBackbone,
    VisionBackbone,
)
from cuecard.engine.local.packed_worker import PackedWorker
from cuecard.engine.local.padded_worker import PaddedWorker
from cuecard.engine.local.requests import (
    EmbedRequest,
    ForkedRequest,
    GenerateRequest,
    Request,
    ScoreRequest,
    SegmentRequest,
)
from cuecard.engine.local.settings import LocalSettings
from cuecard.engine.local.worker import RequestOutput, Worker
from cuecard.engine.protocol import (
    Embedding,
    Finished,
    Generation,
    Held,
    PreparesImages,
    Scoring,
    Token,
)
from cuecard.errors import ConfigError, EngineError
from cuecard.types import Backbone

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _PromptChange:
    """A prompt is served, or is not any more."""

    digest: str
    wanted: bool


class _Choice(AsyncIterator[Token | Finished]):
    """One answer's tokens as they come, and one `Finished`; closing it cancels."""

    def __init__(self, request: GenerateRequest, items: asyncio.Queue[Any]) -> None:
        self.request, self._items, self._ended = request, items, False

    async def __anext__(self) -> Token | Finished:
        if self._ended:
            raise StopAsyncIteration
        item: Token | Finished | Exception = await self._items.get()
        self._ended = not isinstance(item, Token)
        if isinstance(item, Exception):
            raise item
        return item

    async def aclose(self) -> None:
        self._ended = self.request.cancelled = True


class LocalEngine:
    """Rows of any prompts share batches; on backbones that can be packed, in one pass.

    Args:
        backbone: nobody else may use it between `start` and `close`.
    """

    name = "local"

    def __init__(self, backbone: Backbone, settings: LocalSettings | None = None) -> None:
        self._backbone, self._settings = backbone, settings or LocalSettings()
        self.tokenizer, self.max_positions = backbone.tokenizer, backbone.max_positions
        self.dtype = backbone.dtype
        self.images: PreparesImages | None = None
        if isinstance(backbone, VisionBackbone | SegmentationBackbone):
            self.images = backbone.processor
        self.embedding_size = backbone.hidden_size if "states" in backbone.reads else None
        self._changed = threading.Condition()
        self._inbox: list[Request | _PromptChange] = []
        self._closing = False
        self._started = False
        self._worker: Worker | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stats: Mapping[str, float] = {"failed": 0.0, "queue_rows": 0.0}
        self._ends = frozenset[int]()
        if isinstance(backbone, CausalBackbone | Seq2SeqBackbone):  # the others do not generate
            self._ends = backbone.stops()

    def refuses(self, prompt: Prompt) -> None:
        """Say why a prompt cannot be served here.

        Raises:
            WrongBackboneError: it was made for another backbone.
        """
        check_backbone(prompt.manifest.backbone, self._backbone, f"prompt {prompt.digest[:12]}")

    async def start(self) -> None:
        """Begin to compute.

        Raises:
            EngineError: it was started before.
        """
        if self._started:
            raise EngineError("the engine was started before", where=self.name)
        self._started = True
        self._loop = asyncio.get_running_loop()
        # What a model can do is found out by trying, which takes a while.
        worker = self._worker = await asyncio.to_thread(self._make_worker)
        self._thread = threading.Thread(
            target=self._work, args=(worker,), name="cuecard-engine", daemon=True
        )
        self._thread.start()

    async def close(self) -> None:
        """Stop; pending requests get an EngineError."""
        if self._thread is None:
            return
        with self._changed:
            self._closing = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)
        await asyncio.sleep(0)  # what the thread said last is delivered

    async def hold(self, prompt: Held) -> None:
        """See that a prompt fits, without waiting for a pass; its first row will compute it.

        Raises:
            BackboneError: it does not fit the backbone.
            EngineError: the engine is not running.
        """
        self._put(_PromptChange(prompt.digest, wanted=True))
        assert self._worker is not None  # or it would not run
        self._worker.check_prompt(prompt)

    async def drop(self, digest: str) -> None:
        """Forget a prompt once its last request has ended."""
        self._put(_PromptChange(digest, wanted=False))

    async def score(self, rows: Sequence[Scoring]) -> list[list[float]]:
        """Per row the summed log-probability of each word, or its head's outputs.

        Raises:
            CuecardError: a row that does not fit.
            EngineError: the engine failed.
        """
        if not rows:
            return []
        self._check_inputs(rows)
        future, deliver = self._future()
        found: list[list[float]] = await self._done(ScoreRequest(rows, deliver), future)
        return found

    async def embed(self, rows: Sequence[Embedding]) -> list[Tensor]:
        """Per row a vector [H] of unit length, float32 on the CPU: those of `cuecard.embed`.

        Raises:
            ConfigError: a backbone that gives no hidden states.
            CuecardError: a row that does not fit.
            EngineError: the engine failed.
        """
        if self.embedding_size is None:
            raise ConfigError(
                "this backbone has no embeddings",
                where=self._backbone.name,
                got=self._backbone.unreadable("states"),
                expected="an encoder",
            )
        if not rows:
            return []
        self._check_inputs(rows)
        future, deliver = self._future()
        found: list[Tensor] = await self._done(EmbedRequest(rows, deliver), future)
        return found

    async def segment(self, rows: Sequence[Embedding]) -> list[Tensor]:
        """Per row mask logits [C], float32 on the CPU.

        Raises:
            ConfigError: a backbone that finds no parts of images.
            CuecardError: a row that does not fit.
            EngineError: the engine failed.
        """
        if "pixels" not in self._backbone.reads:
            raise ConfigError(
                "this backbone finds no parts of images",
                where=self._backbone.name,
                got=self._backbone.unreadable("pixels"),
                expected="a segmentation model",
            )
        if not rows:
            return []
        self._check_inputs(rows)
        future, deliver = self._future()
        found: list[Tensor] = await self._done(SegmentRequest(rows, deliver), future)
        return found

    async def generate(self, request: Generation) -> AsyncIterator[Token | Finished]:
        """Tokens as they come, and one `Finished`; closing the iterator cancels.

        Raises:
            CuecardError: a request that does not fit.
            EngineError: the engine failed.
        """
        async with aclosing(self._choice(request)) as choice:
            self._put(choice.request)
            async for item in choice:
                yield item

    def generate_choices(
        self, requests: Sequence[Generation]
    ) -> list[AsyncIterator[Token | Finished]]:
        """As `generate`, for requests that differ in their sampling alone; the context runs once.

        The work begins now. Every iterator has to be closed.

        Raises:
            CuecardError: a request that does not fit.
            EngineError: the engine is not running.
        """
        choices = [self._choice(request) for request in requests]
        if choices:
            self._put(ForkedRequest([choice.request for choice in choices]))
        return [*choices]

    def _choice(self, request: Generation) -> _Choice:
        items: asyncio.Queue[Any] = asyncio.Queue()
        stops = self._ends.union(request.sampling.stop_ids)
        return _Choice(GenerateRequest(request, stops, items.put_nowait), items)

    def stats(self) -> Mapping[str, float]:
        """Counters and gauges by name, as they were after the last pass."""
        return self._stats

    def _check_inputs(self, rows: Sequence[Scoring | Embedding]) -> None:
        """
        Raises:
            ConfigError: an image for a language model, or a text for a vision encoder.
        """
        for number, each in enumerate(rows):
            if bool(each.row.images) is (self.images is None):
                raise ConfigError(
                    "the backbone cannot read a row",
                    where=f"row {number}",
                    got="an image" if each.row.images else "a text",
                    expected="a text" if self.images is None else "an image",
                )

    def _future(self) -> tuple[asyncio.Future[Any], Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def deliver(item: Any) -> None:
            if future.done():
                return
            if isinstance(item, Exception):
                future.set_exception(item)
            else:
                future.set_result(item)

        return future, deliver

    async def _done(self, request: Request, future: asyncio.Future[Any]) -> Any:
        self._put(request)
        try:
            return await future
        finally:
            request.cancelled = True  # no effect if it has finished

    def _put(self, item: Request | _PromptChange) -> None:
        with self._changed:
            if self._thread is None or self._closing or not self._thread.is_alive():
                raise EngineError("the engine is not running", where=self.name)
            self._inbox.append(item)
            self._changed.notify()

    # From here on, on the engine's own thread.

    def _work(self, worker: Worker) -> None:
        while (items := self._next_items(worker)) is not None:
            try:
                for item in items:
                    _take(worker, item)
                with self._backbone.lock:
                    outputs = worker.step()
                self._stats = dict(worker.stats())
            except Exception as error:  # noqa: BLE001 - callers wait for an answer or any error
                _log.exception("the engine failed")
                told = EngineError("the engine failed", where=self.name, got=repr(error))
                outputs = worker.fail_all(told)
                self._stats = {**worker.stats(), "failed": 1.0}
            self._tell(outputs)
        self._tell(worker.fail_all(EngineError("the engine was closed", where=self.name)))

    def _make_worker(self) -> Worker:
        backbone = self._backbone
        if isinstance(backbone, VisionBackbone | SegmentationBackbone):
            settings = self._settings
            backbone.kept.keep_latest(settings.cache_bytes if settings.prefix_caching else 0)
        run = backbone.ragged if isinstance(backbone, CausalBackbone) else None
        if run is None or not isinstance(backbone, CausalBackbone):
            return PaddedWorker(backbone, self._settings)
        run.prepack(self._settings.prepack_bytes)
        return PackedWorker(backbone, run, self._settings)

    def _next_items(self, worker: Worker) -> list[Request | _PromptChange] | None:
        """What came since the last time, once there is anything to do; None for the end."""
        with self._changed:
            while not (self._inbox or self._closing or worker.busy):
                self._changed.wait()
            items, self._inbox = self._inbox, []
            if not self._closing:
                return items
        for item in items:
            _take(worker, item)
        return None

    def _tell(self, outputs: Sequence[RequestOutput]) -> None:
        if outputs and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_deliver, outputs)


def _take(worker: Worker, item: Request | _PromptChange) -> None:
    if not isinstance(item, _PromptChange):
        worker.add(item)
    elif item.wanted:
        worker.hold(item.digest)
    else:
        worker.drop(item.digest)


def _deliver(outputs: Sequence[RequestOutput]) -> None:
    for request, item in outputs:
        request.deliver(item)
