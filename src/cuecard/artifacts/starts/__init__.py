"""Where prompts start from: what is learnt ahead and comes with the package."""
