"""Prompts that extract entities and relations, on gold sets and in GraphRAG's own index."""
