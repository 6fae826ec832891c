"""A model behind an endpoint that speaks OpenAI's chat completions: theirs, vLLM, or `serve`."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from cuecard.errors import ConfigError, LLMError
from cuecard.lazy import lazy_module
from cuecard.llms.protocol import LLMAnswer, LLMRequest, TokenUsage

if TYPE_CHECKING:
    from openai import AsyncOpenAI

openai = lazy_module("openai")

KEY = "OPENAI_API_KEY"

# A model's own limit goes by one of two names, depending on its age.
_OLD, _NEW = "max_tokens", "max_completion_tokens"

# Characters of an answer that cannot be read.
_SHOWN = 100


class OpenAILLM:
    """A model of an OpenAI-compatible endpoint.

    Args:
        name: of the model there.
        base_url: of the endpoint, such as "http://127.0.0.1:8000/v1"; None for OpenAI's own.
        api_key: None for the environment's `OPENAI_API_KEY`.
        seconds: how long an answer may take.
        at_once: how many requests are sent at the same time.
        flag: what the address is given by, for messages.

    Raises:
        ConfigError: no key for OpenAI's own endpoint, or an address that is none.
    """

    def __init__(
        self,
        name: str,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        seconds: float = 120.0,
        at_once: int = 8,
        flag: str = "--llm-url",
    ) -> None:
        key = api_key or os.environ.get(KEY)
        if key is None and base_url is None:
            raise ConfigError(
                "there is no key for OpenAI's endpoint",
                where=KEY,
                got="not set",
                expected="a key in the environment",
                hint=f"for an endpoint of your own: {flag} http://127.0.0.1:8000/v1",
            )
        if base_url is not None and not base_url.startswith(("http://", "https://")):
            raise ConfigError(
                "this is not an endpoint's address",
                where=flag,
                got=base_url,
                expected="http:// or https://, usually ending in /v1",
            )
        self.name, self.at_once, self._flag = name, at_once, flag
        self._url = base_url or "https://api.openai.com/v1"
        # Retries are the search's, since each may cost.
        self._connected = partial(
            openai.AsyncOpenAI,
            api_key=key or "none",
            base_url=base_url,
            timeout=seconds,
            max_retries=0,
        )
        self._client: AsyncOpenAI = self._connected()
        self._limit = _OLD
        # Whether it may know response_format: not every endpoint does, for every model.
        self._takes_schemas = True

    def most_prompt_tokens(self, request: LLMRequest) -> int:
        """A bound, since its tokenizer is elsewhere."""
        return request.most_prompt_tokens

    async def complete(self, request: LLMRequest) -> LLMAnswer:
        """The answer; see `LLM.complete`."""
        try:
            return self._completion(await self._create(request), request)
        except openai.BadRequestError as error:
            if self._limit == _OLD and _NEW in str(error):
                self._limit = _NEW
                return await self.complete(request)
            if request.schema is not None and self._takes_schemas:
                self._takes_schemas = False
                return await self.complete(request)
            raise self._failed("the endpoint refuses the request", error, fatal=True) from error
        except openai.APITimeoutError as error:  # it may have answered, and may charge for it
            raise self._failed("the endpoint took too long to answer", error) from error
        except openai.APIConnectionError as error:
            raise self._failed(
                "the endpoint cannot be reached", error, unpaid=True, unreachable=True
            ) from error
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            what = "the endpoint does not accept the API key"
            raise self._failed(what, error, fatal=True, unpaid=True) from error
        except openai.NotFoundError as error:
            what = "the endpoint has no such model, or nothing at this path"
            hint = f"is the model's name right, and does the address end in /v1? ({self._flag})"
            raise self._failed(what, error, hint=hint, fatal=True, unpaid=True) from error
        except openai.RateLimitError as error:
            # A quota that is used up is told by the same status, and waiting does not help.
            fatal = error.code == "insufficient_quota"
            raise self._failed(
                "the endpoint limits requests", error, fatal=fatal, unpaid=True
            ) from error
        except openai.APIStatusError as error:
            raise self._failed("the endpoint failed", error, unpaid=True) from error
        except (openai.OpenAIError, ValueError, AttributeError, IndexError, TypeError) as error:
            raise self._failed("the endpoint's answer cannot be read", error) from error

    async def close(self) -> None:
        """Close its connections; the next request opens new ones."""
        await self._client.close()
        self._client = self._connected()

    async def _create(self, request: LLMRequest) -> Any:
        limit: dict[str, Any] = {self._limit: request.max_tokens}
        if request.temperature > 0:
            limit["seed"] = request.sample
        if request.schema is not None and self._takes_schemas:
            limit["response_format"] = _response_format(request.schema)
        return await self._client.chat.completions.create(
            model=self.name,
            messages=[{"role": m.role, "content": m.content} for m in request.messages],  # type: ignore[misc]
            temperature=request.temperature,
            **limit,
        )

    def _completion(self, found: Any, request: LLMRequest) -> LLMAnswer:
        if not getattr(found, "choices", None):
            text = found.to_json() if hasattr(found, "to_json") else str(found)
            raise LLMError(
                "the endpoint's answer is not a chat completion",
                where=self._where,
                got=" ".join(text.split())[:_SHOWN],
                expected="JSON with choices, as /v1/chat/completions returns it",
            )
        choice = found.choices[0]
        refused = getattr(choice.message, "refusal", None) and not choice.message.content
        why = "refusal" if refused else str(choice.finish_reason or "stop")
        spent = self._spent(found.usage, request)
        return LLMAnswer(choice.message.content or "", spent, why, str(found.model or ""))

    def _spent(self, usage: Any, request: LLMRequest) -> TokenUsage:
        if usage is None:  # as if it had taken all that it may
            return TokenUsage(request.most_prompt_tokens, request.max_tokens)
        spent = TokenUsage(int(usage.prompt_tokens), int(usage.completion_tokens))
        if min(spent.prompt_tokens, spent.completion_tokens) < 0:
            raise LLMError(
                "the endpoint reports a negative number of tokens",
                where=self._where,
                got=f"{spent.prompt_tokens} read, {spent.completion_tokens} written",
                expected="0 or more of each",
                fatal=True,
            )
        return spent

    @property
    def _where(self) -> str:
        return f"{self._url}, model {self.name}"

    def _failed(
        self, what: str, error: Exception, hint: str | None = None, **known: bool
    ) -> LLMError:
        said = " ".join(str(error).split())[:300]
        got = f"{type(error).__name__}: {said}"
        return LLMError(what, where=self._where, got=got, hint=hint, **known)


def _response_format(schema: str) -> dict[str, Any]:
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": json.loads(schema), "strict": True},
    }
