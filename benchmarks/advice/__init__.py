"""What the benchmarks have measured, as the package's advice has it, and how good that is."""
