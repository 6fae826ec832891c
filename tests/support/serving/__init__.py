"""Servers and engines for tests: prompts, registries, clients, and what each must answer."""
