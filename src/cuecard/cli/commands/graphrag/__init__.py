"""Commands that use a saved prompt."""
