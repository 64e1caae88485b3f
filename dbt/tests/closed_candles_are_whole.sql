-- A candle that is closed or quiet has prices, its low is its least and its high its greatest. Each interval has a test of its
-- own: one of both would hold back no model that is made from one of them.
{{ not_whole(ref('fct_candle_1m')) }}
