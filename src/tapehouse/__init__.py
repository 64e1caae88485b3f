"""Tapehouse: real-time crypto market data that can be proved complete and exact."""

__version__ = "0.1.0"
