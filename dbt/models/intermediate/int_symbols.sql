-- What is known of each symbol now: what the exchange says, and for a symbol it has not been asked about, what its name
-- says. The coin is the one CoinGecko tells of under the base asset's ticker, the largest where several have it.
{% set quotes = [
    'FDUSD', 'USDT', 'USDC', 'TUSD', 'BUSD', 'USD1', 'USDS', 'USDP', 'DAI', 'EURI', 'AEUR', 'BTC', 'ETH', 'BNB', 'EUR',
    'GBP', 'TRY', 'BRL', 'JPY', 'AUD', 'ARS', 'PLN', 'MXN', 'ZAR', 'UAH', 'RUB'
] %}
with listed as (
    select * from {{ ref('stg_symbols') }}
),

traded as (
    -- a symbol followed for a day or more has hours
    select venue, symbol, min(known_at) as known_at
    from (
        select venue, symbol, known_at from {{ ref('fct_candle_1h') }}
        union all
        select venue, symbol, known_at from {{ ref('fct_candle_1m') }}
        where date >= (select max(date) - 1 from {{ ref('fct_candle_1m') }})
    )
    group by venue, symbol
),

coins as (
    select ticker, coin
    from {{ ref('stg_market_data') }}
    where ticker is not null
    qualify row_number() over (
        partition by ticker order by coalesce(market_cap_rank, 1000000), observed_at desc, coin
    ) = 1
),

symbols as (
    select
        venue,
        symbol,
        coalesce(
            listed.base_asset, nullif(regexp_extract(symbol, '^(.+)({{ quotes | join("|") }})$', 1), ''), symbol
        ) as base_asset,
        coalesce(
            listed.quote_asset, nullif(regexp_extract(symbol, '^(.+)({{ quotes | join("|") }})$', 2), '')
        ) as quote_asset,
        listed.tick_size,
        listed.step_size,
        coalesce(listed.status, 'UNKNOWN') as status,
        coalesce(listed.known_at, traded.known_at) as known_at
    from listed
    full join traded using (venue, symbol)
)

select
    symbols.*,
    coins.coin as coingecko_id
from symbols
left join coins on symbols.base_asset = coins.ticker
