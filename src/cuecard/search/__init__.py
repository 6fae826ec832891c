"""Prompt search: words instead of vectors, within a budget of calls, tokens, money and time."""
