"""The exchange in the box: a tape served as Binance would."""
