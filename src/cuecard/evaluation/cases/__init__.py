"""What was answered to single rows: which answers are wrong, unsure, or right after all."""
