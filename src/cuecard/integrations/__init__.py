"""cuecard's prompts in other people's tools, each imported where its tool is."""
