"""What an LLM is asked about a corpus, so that prompts can be made from its answers."""
