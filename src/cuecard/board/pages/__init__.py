"""The board's pages: for each its routes, and the facts that it shows."""
