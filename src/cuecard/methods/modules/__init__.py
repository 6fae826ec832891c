"""Trainable modules of the methods, each in a file that imports torch."""
