"""Built-in data sets as their packages hold them, as rows."""
