"""What a report and `cuecard inspect` show of images."""
