"""Sweeps in folders: what a sweep depends on, and one whose shards ran apart."""
