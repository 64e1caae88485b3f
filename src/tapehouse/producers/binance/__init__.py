"""Binance spot: the WebSocket streams, the REST API, the archives."""
