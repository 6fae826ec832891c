"""Steps and time to accuracy against PEFT."""
