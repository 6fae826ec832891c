"""The routes: OpenAI's protocol, `/v1/classify`, and what operators ask for."""
