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
            sum(volume) as volume,
            sum(quote_volume) as quote_volume,
            sum(trades) as trades,
            sum(taker_buy_volume) as taker_buy_volume
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
where (hours.volume, hours.quote_volume, hours.trades, hours.taker_buy_volume)
    is distinct from (minutes.volume, minutes.quote_volume, minutes.trades, minutes.taker_buy_volume)
union all
select hours.venue, hours.symbol, hours.opened_at, 'candle'
from hours
inner join candles using (venue, symbol, opened_at)
where hours.completeness = 1
    and (hours.open, hours.high, hours.low, hours.close, hours.volume, hours.quote_volume, hours.trades)
    is distinct from (
        candles.open, candles.high, candles.low, candles.close, candles.volume, candles.quote_volume, candles.trades
    )
