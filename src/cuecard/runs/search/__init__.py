"""A search for words as a run: its recipe, its models and its judge, what it led to."""
