"""Searchers that write nothing: numbers and words are fitted to labelled rows."""
