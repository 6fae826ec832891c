"""What a registry writes: versions, aliases, files, journal, leases."""
