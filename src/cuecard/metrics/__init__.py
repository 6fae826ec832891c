"""What answers are worth, and how sure that is. Pure functions that know nothing of models."""
