"""Stand-ins for the upstreams of the market's context: CoinGecko, Fear & Greed, feeds and NewsAPI."""
