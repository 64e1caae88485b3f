"""The API: HTTP, WebSocket and the page."""
