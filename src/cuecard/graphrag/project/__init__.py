"""A GraphRAG project's folder: its settings, its prompts, and what is wrong with them."""
