"""Transfer: which saved prompt a new task starts from, if any helps."""
