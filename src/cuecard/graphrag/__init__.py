"""Prompts for GraphRAG: tuned on a corpus, measured, optimised."""
