"""Runs for few labelled rows, each in one piece."""
