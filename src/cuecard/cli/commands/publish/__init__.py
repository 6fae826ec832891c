"""Commands that move prompts into, within and out of a registry."""
