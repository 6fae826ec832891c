"""Charts as SVG, made of text alone: for reports, and for pages that show the same."""
