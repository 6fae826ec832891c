"""Runs that compile a text into a prompt."""
