"""A contest of ways to do one task: the same rows, splits and budget of search for each."""
