"""Ports of prompts to another backbone, as the command line and recipes ask for them."""
