{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['source', 'coin', 'observed_at'],
        on_schema_change='fail',
    )
}}

select
    told.source,
    told.coin,
    told.observed_at,
    told.price,
    told.market_cap,
    told.volume_24h,
    told.circulating_supply,
    told.market_cap_rank,
    told.known_at,
    {{ loaded_at() }} as loaded_at,
    told.date
from {{ ref('stg_market_data') }} as told
{{ only_unknown('told', ['source', 'coin', 'observed_at'], 'known_at') }}
