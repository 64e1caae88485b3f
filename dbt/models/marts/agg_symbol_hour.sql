{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['venue', 'symbol', 'opened_at'],
        on_schema_change='fail',
    )
}}

{#- What is told of an hour beside its minutes. -#}
{% set told = {
    'signals': 'coalesce(signals.signals, 0)',
    'spikes': 'coalesce(signals.spikes, 0)',
    'news': 'coalesce(mentions.news, 0)',
    'news_sentiment': 'mentions.news_sentiment',
    'fear_greed': 'sentiment.fear_greed',
} %}
{% set join_told %}
    left join signals using (venue, symbol, hour)
    left join symbols using (venue, symbol)
    left join mentions on symbols.base_asset = mentions.ticker and hours.hour = mentions.hour
    left join sentiment on cast(hours.hour as date) = sentiment.date
{% endset %}

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
-- a story can leave an hour as well as come to it, so an hour is compared with what is now told of it
changed as (
    select venue, symbol, date_trunc('hour', opened_at) as hour
    from {{ ref('fct_candle_1m') }}
    where loaded_at > {{ last_loaded() }}
    union
    select hours.venue, hours.symbol, hours.hour
    from (select *, opened_at as hour from {{ this }}) as hours
    {{ join_told }}
    where (hours.{{ told.keys() | join(", hours.") }}) is distinct from ({{ told.values() | join(", ") }})
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
        {%- for name, value in told.items() %}
        {{ value }} as {{ name }},
        {%- endfor %}
        hours.completeness,
        cast(hours.corrections as bigint) as corrections,
        hours.known_at,
        {{ loaded_at() }} as loaded_at,
        cast(hours.hour as date) as date
    from hours
    left join volatility using (venue, symbol, hour)
    left join profile using (venue, symbol, hour)
    {{ join_told }}
)

select * from final
