-- The same of candles of an hour.
{{ not_whole(ref('fct_candle_1h')) }}
