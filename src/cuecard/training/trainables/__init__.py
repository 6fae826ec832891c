"""What can be trained: a prompt by any method, a head beside it, a LoRA adapter."""
