"""An extraction prompt as something to search for: its instruction, types and examples."""
