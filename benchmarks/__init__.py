"""Measurements of the whole platform; each checks its own result first. `python -m benchmarks --help`."""
