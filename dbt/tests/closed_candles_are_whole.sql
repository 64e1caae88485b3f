-- A candle that is closed or quiet has prices, its low is its least and its high its greatest.
select venue, symbol, opened_at
from {{ ref('fct_candle_1m') }}
where state in ('closed', 'quiet')
    and coalesce(low > least(open, close) or high < greatest(open, close) or low > high, true)
