"""Words that prompts are made of: tokens that can be read, and saved prompts as words."""
