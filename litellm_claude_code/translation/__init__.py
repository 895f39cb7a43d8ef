"""Translate OpenAI's format to the Messages API and back, with litellm's own translators."""
