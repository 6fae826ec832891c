"""Heads that are fitted in closed form, before a training or after it."""
