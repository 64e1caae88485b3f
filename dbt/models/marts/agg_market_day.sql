with hours as (
    select *, stddev_pop(return) over (partition by date, venue, symbol) as spread
    from {{ ref('agg_symbol_hour') }}
),

symbols as (
    select * from {{ ref('dim_symbol') }} where is_current
),

symbol_days as (
    select
        date,
        venue,
        symbol,
        cast(arg_max(close, opened_at) as double) / nullif(cast(arg_min(open, opened_at) as double), 0) - 1 as return,
        sum(quote_volume) as quote_volume,
        sum(completeness order by opened_at) / 24 as completeness,
        sum(spikes) as spikes
    from hours
    group by all
),

-- of returns in units of their own spread, the sum's variance is n plus the correlations of all pairs: their mean needs
-- no pair to be looked at
standardised as (
    select
        date,
        opened_at,
        sum((return - mean) / spread order by venue, symbol) as total,
        count(*) as symbols
    from (
        select *, avg(return) over (partition by date, venue, symbol) as mean, count(return) over (
            partition by date, venue, symbol
        ) as known_hours
        from hours
    )
    where known_hours = 24 and spread > 0
    group by date, opened_at
),

correlations as (
    select
        date,
        round((var_pop(total order by opened_at) - any_value(symbols)) / (any_value(symbols) * (any_value(symbols) - 1)), 9)
            as mean_correlation
    from standardised
    group by date
    having min(symbols) > 1
),

dominance as (
    select
        date,
        arg_max(market_cap, observed_at) as market_cap,
        arg_max(btc_dominance, observed_at) as btc_dominance,
        arg_max(eth_dominance, observed_at) as eth_dominance
    from {{ ref('stg_market_global') }}
    group by date
),

sentiment as (
    select date, value as fear_greed, value - lag(value) over (order by date) as fear_greed_change
    from {{ ref('fct_sentiment_daily') }}
    where source = 'fear_greed'
),

news as (
    select date, count(distinct story) as news
    from {{ ref('fct_news') }}
    group by date
),

days as (
    select
        symbol_days.date,
        count(*) as symbols,
        round(avg(symbol_days.return order by symbol_days.venue, symbol_days.symbol), 12) as mean_return,
        any_value(symbol_days.return) filter (where symbol_days.symbol = 'BTCUSDT') as btc_return,
        sum(symbol_days.quote_volume) filter (where symbols.quote_asset in ('{{ var("dollar_quotes") | join("', '") }}'))
            as dollar_volume,
        cast(sum(symbol_days.spikes) as bigint) as spikes,
        round(avg(symbol_days.completeness order by symbol_days.venue, symbol_days.symbol), 12) as completeness
    from symbol_days
    left join symbols using (venue, symbol)
    group by symbol_days.date
),

final as (
    select
        days.date,
        days.symbols,
        days.mean_return,
        days.btc_return,
        correlations.mean_correlation,
        days.dollar_volume,
        dominance.market_cap,
        dominance.btc_dominance,
        dominance.eth_dominance,
        sentiment.fear_greed,
        sentiment.fear_greed_change,
        {{ finite('round(corr(sentiment.fear_greed, days.mean_return) over last_month, 9)') }}
            as fear_greed_return_correlation,
        coalesce(news.news, 0) as news,
        days.spikes,
        days.completeness
    from days
    left join correlations using (date)
    left join dominance using (date)
    left join sentiment using (date)
    left join news using (date)
    window last_month as (order by days.date range between interval 29 day preceding and current row)
)

select * from final
