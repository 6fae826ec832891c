"""Benchmarks against what people use today. Run by make; results lie in benchmarks/results."""
