"""Prompts of other tasks at few examples, and the tasks that a start is learnt from."""
