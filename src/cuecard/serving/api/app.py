"""The ASGI application: OpenAI's routes, `/v1/classify`, `/v1/segment`, health and metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from cuecard.errors import CuecardError
from cuecard.serving.api.chat import chat, chat_stream
from cuecard.serving.api.classify import classify
from cuecard.serving.api.classify_body import DESCRIPTION, classify_body
from cuecard.serving.api.completions import complete, complete_stream
from cuecard.serving.api.embeddings import embeddings
from cuecard.serving.api.health import readiness
from cuecard.serving.api.model_list import model_card, model_list
from cuecard.serving.api.responses_api import respond, respond_stream
from cuecard.serving.api.segment import segment
from cuecard.serving.api.service import Service
from cuecard.serving.http.auth import KeyStore
from cuecard.serving.http.context import SCOPE, RequestContext
from cuecard.serving.http.event_stream import EventStream, error_response
from cuecard.serving.http.limits import RateLimiter
from cuecard.serving.http.metrics import CONTENT_TYPE, Metrics
from cuecard.serving.http.middleware import RequestMiddleware, ShutdownState
from cuecard.serving.logs import JsonLog
from cuecard.serving.models.registry_state import RegistryState
from cuecard.serving.protocol.errors import APIError, to_api_error
from cuecard.serving.protocol.requests import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    RequestModel,
)
from cuecard.serving.protocol.responses import (
    ChatCompletion,
    Classification,
    Completion,
    ErrorBody,
    ModelCard,
    ModelList,
    ResponseBody,
    Segmentation,
    TextVectors,
)
from cuecard.serving.protocol.responses_request import ResponsesRequest
from cuecard.serving.protocol.validation import invalid_json, invalid_request

_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request is not valid or not allowed."},
    "5XX": {"model": ErrorBody, "description": "The server cannot answer at the moment."},
}

_BODIES: Mapping[str, type[RequestModel]] = {
    "/v1/completions": CompletionRequest,
    "/v1/chat/completions": ChatRequest,
    "/v1/embeddings": EmbeddingRequest,
    "/v1/responses": ResponsesRequest,
}
"""The request model of each route that FastAPI checks, for messages about invalid requests."""


@dataclass(frozen=True, slots=True)
class ServerComponents:
    """The objects a server is built from."""

    service: Service
    state: RegistryState
    limiter: RateLimiter
    metrics: Metrics
    keys: KeyStore | None
    shutdown: ShutdownState
    log: JsonLog
    clock: Callable[[], float] = time.monotonic
    cors: tuple[str, ...] = ()


def routes_app(components: ServerComponents) -> FastAPI:
    """The routes and their description, without the middleware that requests need."""
    app = FastAPI(
        title="cuecard",
        summary="Many tasks from one frozen language model.",
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    _add_generation(app, components.service)
    _add_models(app, components.service)
    _add_operations(app, components)
    _add_errors(app)
    return app


def build_app(components: ServerComponents) -> ASGIApp:
    """The server as an ASGI application."""
    app = routes_app(components)
    wrapped = RequestMiddleware(
        app,
        limits=components.service.limits,
        limiter=components.limiter,
        keys=components.keys,
        shutdown=components.shutdown,
        metrics=components.metrics,
        log=components.log,
        routes=frozenset(route.path for route in app.routes if hasattr(route, "path")),
        forms=frozenset({"/v1/classify", "/v1/segment"}),
    )
    return _with_cors(wrapped, components.cors) if components.cors else wrapped


def _with_cors(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """Add CORS headers for these origins, to errors too; preflight requests need no key."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "HEAD", "POST"),
        allow_headers=("*",),  # Authorization, and the headers client libraries add
        allow_private_network=True,  # a public page may call a local server
        expose_headers=("Retry-After", "X-Request-Id"),
    )


def _context(request: Request) -> RequestContext:
    found: RequestContext = request.scope[SCOPE]
    return found


def _returns(model: type[Any], events: bool = False) -> dict[int | str, dict[str, Any]]:
    success: dict[str, Any] = {"model": model}
    if events:
        success["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    return {200: success, **_ERRORS}


def _add_generation(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/completions",
        responses=_returns(Completion, True),
        response_model=None,
        tags=["answers"],
    )
    async def completions(request: Request, body: CompletionRequest) -> Response:
        """Complete a text, or answer it with a task's prompt."""
        if body.stream:
            return await EventStream.start(complete_stream(service, body, _context(request)))
        return JSONResponse(await complete(service, body, _context(request)))

    @app.post(
        "/v1/chat/completions",
        responses=_returns(ChatCompletion, True),
        response_model=None,
        tags=["answers"],
    )
    async def chat_completions(request: Request, body: ChatRequest) -> Response:
        """The assistant's next message."""
        if body.stream:
            return await EventStream.start(chat_stream(service, body, _context(request)))
        return JSONResponse(await chat(service, body, _context(request)))

    @app.post(
        "/v1/responses",
        responses=_returns(ResponseBody, True),
        response_model=None,
        tags=["answers"],
    )
    async def responses(request: Request, body: ResponsesRequest) -> Response:
        """A text response to an input; nothing is stored."""
        if body.stream:
            return await EventStream.start(respond_stream(service, body, _context(request)))
        return JSONResponse(await respond(service, body, _context(request)))

    @app.post(
        "/v1/classify",
        responses=_returns(Classification),
        response_model=None,
        openapi_extra=DESCRIPTION,
        tags=["answers"],
    )
    async def classifications(request: Request) -> Response:
        """Label probabilities of every input under every model."""
        body = await classify_body(request, service.limits)
        found = await classify(service, body, _context(request))
        return JSONResponse(found.model_dump(mode="json"))

    @app.post(
        "/v1/segment",
        responses=_returns(Segmentation),
        response_model=None,
        openapi_extra=DESCRIPTION,
        tags=["answers"],
    )
    async def segments(request: Request) -> Response:
        """The mask of a part of every image under every model."""
        body = await classify_body(request, service.limits)
        found = await segment(service, body, _context(request))
        return JSONResponse(found.model_dump(mode="json"))

    @app.post(
        "/v1/embeddings", responses=_returns(TextVectors), response_model=None, tags=["answers"]
    )
    async def embed_texts(request: Request, body: EmbeddingRequest) -> Response:
        """Unit-length embeddings of texts, if the backbone is an encoder."""
        found = await embeddings(service, body, _context(request))
        return Response(found, media_type="application/json")


def _add_models(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", responses=_returns(ModelList), response_model=None, tags=["models"])
    async def models(request: Request) -> Response:
        """The models this key may use."""
        return JSONResponse(
            model_list(service.catalog, _context(request).key).model_dump(mode="json")
        )

    @app.get(
        "/v1/models/{model:path}",
        responses=_returns(ModelCard),
        response_model=None,
        tags=["models"],
    )
    async def model(request: Request, model: str) -> Response:
        """One of them."""
        _context(request).allow(model, service.catalog.backbone)
        return JSONResponse(model_card(service.catalog, model).model_dump(mode="json"))


def _add_operations(app: FastAPI, components: ServerComponents) -> None:
    @app.get("/healthz", response_model=None, tags=["operation"])
    async def healthz() -> Response:
        """Liveness: the process is running."""
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", response_model=None, responses={503: {}}, tags=["operation"])
    async def readyz(request: Request) -> Response:
        """Readiness: whether to send requests here, and any problems."""
        ready, facts = readiness(
            components.service,
            components.state,
            components.shutdown,
            components.keys,
            components.clock(),
        )
        key = _context(request).key
        if components.keys is not None and (key is None or not key.unrestricted):
            facts = {"ready": ready}
        return JSONResponse(facts, 200 if ready else 503)

    @app.get("/metrics", response_class=Response, responses=_ERRORS, tags=["operation"])
    async def metrics(request: Request) -> Response:
        """Counters and gauges for Prometheus."""
        key = _context(request).key
        if key is not None and not key.unrestricted:
            raise APIError(403, "not_allowed", "This key may not read the server's metrics.")
        return Response(components.metrics.text(), media_type=CONTENT_TYPE)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(APIError)
    async def api_error(request: Request, error: APIError) -> Response:
        return error_response(error)

    @app.exception_handler(CuecardError)
    async def cuecard_error(request: Request, error: CuecardError) -> Response:
        return error_response(to_api_error(error))

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> Response:
        return error_response(
            invalid_request(error.errors(), error.body, _BODIES.get(request.url.path))
        )

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 400:  # FastAPI's: JSON nested too deeply, or not UTF-8
            return error_response(invalid_json())
        code = {404: "not_found", 405: "method_not_allowed"}.get(
            error.status_code, "invalid_request"
        )
        response = error_response(APIError(error.status_code, code, f"{error.detail}."))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def unexpected_error(request: Request, error: Exception) -> Response:
        return error_response(APIError(500, "internal_error", "Internal server error."))
