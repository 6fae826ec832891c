"""What the pages show, read from runs' folders."""
