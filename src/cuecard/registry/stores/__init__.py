"""Where a registry's files lie: a disk, or an object store."""
