"""What a user can type: a file per command, in the groups that `cuecard --help` shows."""
