"""The prompts that GraphRAG and its relatives index with, made from what a corpus told."""
