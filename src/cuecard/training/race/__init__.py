"""`--method auto`: methods and rates race on the validation rows within a budget."""
