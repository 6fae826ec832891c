"""The prompts that are served: catalog, sync with the registry, disk cache."""
