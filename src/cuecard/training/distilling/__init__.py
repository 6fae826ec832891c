"""What learns from answers: they are asked once, kept, learnt in shared passes, and compared."""
