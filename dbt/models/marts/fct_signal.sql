{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['kind', 'venue', 'symbol', 'interval', 'opened_at'],
        on_schema_change='fail',
    )
}}

select
    told.kind,
    told.venue,
    told.symbol,
    told.interval,
    told.opened_at,
    told.score,
    told.state,
    told.evidence,
    told.revision,
    told.known_at,
    {{ loaded_at() }} as loaded_at,
    told.date
from {{ ref('stg_signals') }} as told
{{ only_unknown('told', ['kind', 'venue', 'symbol', 'interval', 'opened_at'], 'revision') }}
