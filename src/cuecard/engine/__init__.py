"""What computes answers, usable in process and without HTTP."""
