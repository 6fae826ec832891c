"""Attention, norms and gates of our own, and where tokens and vectors stand: tensors alone."""
