"""What is learnt within a budget of CPU time."""
