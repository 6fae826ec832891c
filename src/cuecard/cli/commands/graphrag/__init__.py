"""Commands that make prompts for GraphRAG, check and measure them."""
