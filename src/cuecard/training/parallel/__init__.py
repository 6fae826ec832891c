"""One run on several processes, each with its share of every batch's rows."""
