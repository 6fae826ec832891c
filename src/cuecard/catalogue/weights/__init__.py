"""Weights of built-in models as their packages hold them, converted to safetensors."""
