"""Searchers that ask an LLM to write instructions."""
