"""What a run may spend: memory for activations and cached inputs, and time for validations."""
