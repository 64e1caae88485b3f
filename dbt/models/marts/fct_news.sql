{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['source', 'key'],
        on_schema_change='fail',
    )
}}

select
    told.source,
    told.key,
    told.story,
    told.published_at,
    told.title,
    told.link,
    told.publisher,
    told.tickers,
    told.sentiment,
    told.tone,
    told.known_at,
    {{ loaded_at() }} as loaded_at,
    told.date
from {{ ref('stg_news') }} as told
{{ only_unknown('told', ['source', 'key'], 'known_at') }}
