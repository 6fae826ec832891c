"""Runs, cases and registries as pages for a browser."""
