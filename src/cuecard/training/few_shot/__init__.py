"""What makes more of few labelled rows: patterns and unlabelled rows."""
