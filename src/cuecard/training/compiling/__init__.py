"""A long text in front of every request, compiled into a short prompt."""
