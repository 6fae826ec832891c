"""Comparisons of many ways to do one task."""
