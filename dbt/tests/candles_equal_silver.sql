-- The candles' sums are those of the highest revisions in silver, to the last digit, by symbol and day.
{% for interval in ['1m', '1h'] %}
{% set candles = ref('fct_candle_' ~ interval) %}
(
    with
        ours as (
            select venue, symbol, date, {{ sums_of_candles() }}
            from {{ candles }}
            where {{ days_to_reconcile(candles) }}
            group by all
        ),

        newest as (
            {{ newest(
                "(select * from " ~ ref('stg_candles') ~ " where interval = '" ~ interval ~ "' and " ~ days_to_reconcile(candles) ~ ")",
                ['venue', 'symbol', 'opened_at'], 'revision'
            ) }}
        ),

        silver as (
            select venue, symbol, date, {{ sums_of_candles() }}
            from newest
            group by all
        )

    select '{{ interval }}' as interval, venue, symbol, date
    from (
        (select * from ours except select * from silver)
        union all
        (select * from silver except select * from ours)
    )
)
{{ "union all" if not loop.last }}
{% endfor %}
