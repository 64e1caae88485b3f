{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['venue', 'symbol', 'opened_at'],
        on_schema_change='fail',
    )
}}

{{ candles_of('1h') }}
