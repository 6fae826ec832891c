"""What compiled texts and ported prompts are worth."""
