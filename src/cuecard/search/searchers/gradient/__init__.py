"""Searchers that follow gradients at the embeddings of a prompt's words."""
