"""Requests, answers and errors as they are written in JSON."""
