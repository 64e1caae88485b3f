{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['venue', 'symbol', 'opened_at'],
        on_schema_change='fail',
    )
}}

with symbols as (
    select * from {{ ref('dim_symbol') }} where is_current
),

signals as (
    select
        venue,
        symbol,
        date_trunc('hour', opened_at) as hour,
        count(*) as signals,
        count(*) filter (where kind = 'volume_spike' and interval = '1m') as spikes
    from {{ ref('fct_signal') }}
    where state <> 'retracted'
    group by all
),

mentions as (
    select
        ticker,
        date_trunc('hour', published_at) as hour,
        count(distinct story) as news,
        avg(sentiment order by published_at, source, key) as news_sentiment
    from (select *, unnest(tickers) as ticker from {{ ref('fct_news') }})
    group by all
),

sentiment as (
    select date, value as fear_greed
    from {{ ref('fct_sentiment_daily') }}
    where source = 'fear_greed'
),

{% if is_incremental() %}
revised as (
    select distinct venue, symbol, date_trunc('hour', opened_at) as hour
    from {{ ref('fct_candle_1m') }}
    where loaded_at > {{ last_loaded() }}
),
{% endif %}

every_hour as (
    {% if is_incremental() %}
    select venue, symbol, opened_at as hour from {{ this }}
    union
    select venue, symbol, hour from revised
    {% else %}
    select distinct venue, symbol, date_trunc('hour', opened_at) as hour from {{ ref('fct_candle_1m') }}
    {% endif %}
),

-- what is told of an hour beside its candles
context as (
    select
        every_hour.venue,
        every_hour.symbol,
        every_hour.hour,
        coalesce(signals.signals, 0) as signals,
        coalesce(signals.spikes, 0) as spikes,
        coalesce(mentions.news, 0) as news,
        mentions.news_sentiment,
        sentiment.fear_greed
    from every_hour
    left join signals using (venue, symbol, hour)
    left join symbols using (venue, symbol)
    left join mentions on symbols.base_asset = mentions.ticker and every_hour.hour = mentions.hour
    left join sentiment on cast(every_hour.hour as date) = sentiment.date
),

{% if is_incremental() %}
-- a story can leave an hour as well as come to it, so an hour is compared with what is now told of it
changed as (
    select venue, symbol, hour from revised
    union
    select context.venue, context.symbol, context.hour
    from context
    inner join {{ this }} as held
        on context.venue = held.venue and context.symbol = held.symbol and context.hour = held.opened_at
    where (context.signals, context.spikes, context.news, context.news_sentiment, context.fear_greed)
        is distinct from (held.signals, held.spikes, held.news, held.news_sentiment, held.fear_greed)
),
{% endif %}

minutes as (
    select
        candles.*,
        date_trunc('hour', candles.opened_at) as hour
    from {{ ref('fct_candle_1m') }} as candles
    {% if is_incremental() %}
    semi join changed
        on candles.venue = changed.venue
        and candles.symbol = changed.symbol
        and date_trunc('hour', candles.opened_at) = changed.hour
    {% endif %}
),

-- an hour is made from its own minutes alone: a late revision restates that hour and no other
steps as (
    select
        venue,
        symbol,
        hour,
        opened_at,
        ln(
            cast(close as double)
            / cast(lag(close, 1, open) over (partition by venue, symbol, hour order by opened_at) as double)
        ) as log_return
    from minutes
    where close > 0
),

volatility as (
    select
        venue,
        symbol,
        hour,
        sqrt(sum(log_return * log_return order by opened_at)) as volatility
    from steps
    group by venue, symbol, hour
),

hours as (
    select
        venue,
        symbol,
        hour,
        -- prices are those of trades; a quiet minute repeats the close before it, and counts where there is nothing else
        coalesce(arg_min(open, opened_at) filter (where trades > 0), arg_min(open, opened_at)) as open,
        coalesce(max(high) filter (where trades > 0), max(high)) as high,
        coalesce(min(low) filter (where trades > 0), min(low)) as low,
        arg_max(close, opened_at) as close,
        sum(volume) as volume,
        sum(quote_volume) as quote_volume,
        sum(trades) as trades,
        sum(taker_buy_volume) as taker_buy_volume,
        sum(taker_buy_quote_volume) as taker_buy_quote_volume,
        count(*) filter (where state in ('closed', 'quiet')) / 60 as completeness,
        sum(revision - 1) as corrections,
        max(known_at) as known_at
    from minutes
    group by venue, symbol, hour
),

profile as (
    {{ volume_profile('minutes', 'hours', 24) }}
),

final as (
    select
        hours.venue,
        hours.symbol,
        hours.hour as opened_at,
        hours.open,
        hours.high,
        hours.low,
        hours.close,
        hours.volume,
        hours.quote_volume,
        cast(hours.trades as bigint) as trades,
        hours.taker_buy_volume,
        hours.taker_buy_quote_volume,
        {{ vwap('hours.quote_volume', 'hours.volume') }} as vwap,
        cast(hours.close as double) / nullif(cast(hours.open as double), 0) - 1 as return,
        volatility.volatility,
        cast(2 * hours.taker_buy_volume - hours.volume as double)
        / nullif(cast(hours.volume as double), 0) as taker_imbalance,
        profile.busiest_price,
        profile.value_area_low,
        profile.value_area_high,
        context.signals,
        context.spikes,
        context.news,
        context.news_sentiment,
        context.fear_greed,
        hours.completeness,
        cast(hours.corrections as bigint) as corrections,
        hours.known_at,
        {{ loaded_at() }} as loaded_at,
        cast(hours.hour as date) as date
    from hours
    inner join context using (venue, symbol, hour)
    left join volatility using (venue, symbol, hour)
    left join profile using (venue, symbol, hour)
)

select * from final
