"""Weights held in fewer bits."""
