"""Prompts of one backbone, trained anew for another from what they answer."""
