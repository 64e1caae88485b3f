with told as (
    select 'binance' as source, 'candles' as kind, min(known_at) as first_known_at, max(known_at) as last_known_at
    from {{ ref('fct_candle_1h') }}
    union all
    select source, 'market_data', min(known_at), max(known_at) from {{ ref('fct_market_snapshot') }} group by source
    union all
    select source, 'market_data', min(known_at), max(known_at) from {{ ref('stg_market_global') }} group by source
    union all
    select source, 'sentiment', min(known_at), max(known_at) from {{ ref('fct_sentiment_daily') }} group by source
    union all
    select source, 'news', min(known_at), max(known_at) from {{ ref('fct_news') }} group by source
)

select
    source,
    kind,
    -- a feed's name follows a colon, a kind of CoinGecko's answers an underscore
    regexp_replace(split_part(source, ':', 1), '^coingecko_.*', 'coingecko') as upstream,
    first_known_at,
    last_known_at
from told
