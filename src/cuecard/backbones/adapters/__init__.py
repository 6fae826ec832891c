"""LoRA adapters: their folders, the modules they mean, and merging them."""
