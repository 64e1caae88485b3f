{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['venue', 'symbol'],
        on_schema_change='fail',
    )
}}

with seen as (
    select venue, symbol, known_at as first_known_at, known_at
    from {{ ref('stg_candles') }}
    {% if is_incremental() %}
    where known_at >= {{ known_from() }}
    union all
    select venue, symbol, first_known_at, known_at from {{ this }}
    {% endif %}
)

select
    venue,
    symbol,
    min(first_known_at) as first_known_at,
    max(known_at) as known_at
from seen
group by venue, symbol
