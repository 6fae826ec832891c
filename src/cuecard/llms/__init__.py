"""Models that only answer: over HTTP, or by a script. `LLM` is what a search asks."""

from cuecard.llms.protocol import LLM, Completion, LLMRequest, Message, Usage

__all__ = ["LLM", "Completion", "LLMRequest", "Message", "Usage"]
