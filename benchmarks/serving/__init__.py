"""Many prompts on one server, beside PEFT, vLLM and no prompt."""
