"""Random numbers as a function of a key: the same on every machine, in any order, for a column at once."""

import polars as pl

_STEP = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def draw(key: pl.Expr, seed: int, kind: int) -> pl.Expr:
    """Return 63 random bits for each key (UInt64): the finalizer of SplitMix64."""
    begun = (seed * 1_000_003 + kind + 1) * _STEP % 2**64
    bits = key.cast(pl.Int64).reinterpret(signed=False) * pl.lit(_STEP, pl.UInt64) + pl.lit(begun, pl.UInt64)
    bits = (bits ^ (bits // 2**30)) * pl.lit(_FIRST, pl.UInt64)
    bits = (bits ^ (bits // 2**27)) * pl.lit(_SECOND, pl.UInt64)
    return (bits ^ (bits // 2**31)) // 2


def fraction(bits: pl.Expr) -> pl.Expr:
    """Return the bits as a number of [0, 1)."""
    return (bits // 2**11).cast(pl.Float64) / 2**52
