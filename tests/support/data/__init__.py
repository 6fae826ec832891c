"""Small labelled data sets that a tiny backbone can learn."""
