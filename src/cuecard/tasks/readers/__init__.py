"""How data files become records: a file per format, and how columns are read."""
