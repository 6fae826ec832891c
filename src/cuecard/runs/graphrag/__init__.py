"""Runs that make prompts for GraphRAG, and measure them."""
