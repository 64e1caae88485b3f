"""The tape: the ordered record between producers and streaming."""
