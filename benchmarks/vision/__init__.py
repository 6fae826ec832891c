"""Prompts for images beside LoRA, full tuning and a linear probe; steps of VPT-Deep."""
