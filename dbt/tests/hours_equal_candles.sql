{% set sums = ['volume', 'quote_volume', 'trades', 'taker_buy_volume', 'taker_buy_quote_volume'] %}
{% set prices = ['open', 'high', 'low', 'close'] %}
-- An hour's sums are those of its minutes, and those of the hour's own candle where both are proved whole.
with
    hours as (
        select * from {{ ref('agg_symbol_hour') }} where {{ days_to_reconcile(ref('agg_symbol_hour')) }}
    ),

    minutes as (
        select
            venue,
            symbol,
            date_trunc('hour', opened_at) as opened_at,
            {%- for name in sums %}
            sum({{ name }}) as {{ name }}{{ "," if not loop.last }}
            {%- endfor %}
        from {{ ref('fct_candle_1m') }}
        where date in (select date from hours)
        group by all
    ),

    candles as (
        select * from {{ ref('fct_candle_1h') }} where state in ('closed', 'quiet')
    )

select hours.venue, hours.symbol, hours.opened_at, 'minutes' as differs_from
from hours
full join minutes using (venue, symbol, opened_at)
where (hours.{{ sums | join(", hours.") }})
    is distinct from (minutes.{{ sums | join(", minutes.") }})
union all
select hours.venue, hours.symbol, hours.opened_at, 'candle'
from hours
inner join candles using (venue, symbol, opened_at)
where hours.completeness = 1
    and (hours.{{ (prices + sums) | join(", hours.") }})
    is distinct from (candles.{{ (prices + sums) | join(", candles.") }})
