"""CoinGecko: what coins are worth, and the market as a whole."""
