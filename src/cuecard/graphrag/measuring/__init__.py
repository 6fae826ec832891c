"""What an extraction is worth: beside gold, and by itself."""
