"""The engine of this process: continuous batching on transformers and torch."""
