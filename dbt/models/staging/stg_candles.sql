select
    -- ids
    venue,
    symbol,
    interval,
    first_trade_id,
    last_trade_id,

    -- prices
    open,
    high,
    low,
    close,

    -- sums
    volume,
    quote_volume,
    trades,
    taker_buy_volume,
    taker_buy_quote_volume,

    -- trust
    state,
    revision,

    -- times
    opened_at,
    known_at,
    date
from {{ lake('silver', 'candles') }}
