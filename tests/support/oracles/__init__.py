"""Plain implementations that results are compared with: a row at a time, no padding, no cache."""
