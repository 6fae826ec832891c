"""Searches for prompts at an equal budget of calls, races, and other packages' searchers."""
