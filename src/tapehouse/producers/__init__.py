"""Producers: the world comes in here, one package or module an upstream."""
