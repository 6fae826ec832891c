"""Records and answers as token ids, in batches, and what is read of them."""
