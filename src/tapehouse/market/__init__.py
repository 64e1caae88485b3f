"""The core: pure values and functions. No clock, no I/O, no logging, no settings."""
