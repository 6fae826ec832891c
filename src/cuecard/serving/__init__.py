"""Many prompts on one backbone, over HTTP."""
