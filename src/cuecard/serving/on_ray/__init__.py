"""Serving on a Ray cluster."""
