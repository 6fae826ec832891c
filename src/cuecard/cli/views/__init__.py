"""What is shown on the terminal: tables, progress and reports."""
