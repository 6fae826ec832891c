"""What a run leaves in its folder: its log, its checkpoint and its result."""
