"""What training minimises, and how it is judged on the validation rows."""
