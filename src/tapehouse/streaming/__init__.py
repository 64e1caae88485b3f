"""Streaming: the tape becomes bronze, silver and gold."""
