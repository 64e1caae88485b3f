{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['source', 'date'],
        on_schema_change='fail',
    )
}}

select
    told.source,
    told.date,
    told.value,
    told.classification,
    told.known_at,
    {{ loaded_at() }} as loaded_at
from {{ ref('stg_sentiment') }} as told
{{ only_unknown('told', ['source', 'date'], 'known_at') }}
