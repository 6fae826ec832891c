"""What a prompt has to beat: hand-written prompts, and linear models of the texts."""
