"""What 16 rows of each label are worth to whom."""
