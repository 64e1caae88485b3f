{#- The candles of an interval: of each the highest revision, and in an incremental build only those that are new. -#}
{% macro candles_of(interval) -%}
with unknown as (
    select candles.* from (select * from {{ ref('stg_candles') }} where interval = '{{ interval }}') as candles
    {{ only_unknown('candles', ['venue', 'symbol', 'opened_at'], 'revision') }}
),

newest as (
    {{ newest('unknown', ['venue', 'symbol', 'opened_at'], 'revision') }}
)

select
    venue,
    symbol,
    opened_at,
    open,
    high,
    low,
    close,
    volume,
    quote_volume,
    trades,
    taker_buy_volume,
    taker_buy_quote_volume,
    first_trade_id,
    last_trade_id,
    state,
    revision,
    known_at,
    {{ loaded_at() }} as loaded_at,
    date
from newest
{%- endmacro %}
