"""Searchers that see what a backbone answers, and nothing of what it computes."""
