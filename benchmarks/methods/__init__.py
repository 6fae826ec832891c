"""Every method beside the hand-written prompt, LoRA and full tuning."""
