-- What is known of each symbol now: what the exchange says, and for a symbol it has not been asked about, what its name
-- says. The coin is the one the platform takes the base asset's ticker for; of a ticker it has none for, the one CoinGecko
-- tells of, the largest where several have it.
{% set quotes = [
    'FDUSD', 'USDT', 'USDC', 'TUSD', 'BUSD', 'USD1', 'USDS', 'USDP', 'DAI', 'EURI', 'AEUR', 'BTC', 'ETH', 'BNB', 'EUR',
    'GBP', 'TRY', 'BRL', 'JPY', 'AUD', 'ARS', 'PLN', 'MXN', 'ZAR', 'UAH', 'RUB'
] %}
with listed as (
    select * from {{ ref('stg_symbols') }}
),

traded as (
    select * from {{ ref('int_traded_symbols') }}
),

pinned as (
    {{ pinned_coins() }}
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
        coalesce(listed.known_at, traded.first_known_at) as known_at
    from listed
    full join traded using (venue, symbol)
)

select
    symbols.*,
    coalesce(pinned.coin, coins.coin) as coingecko_id
from symbols
left join pinned on symbols.base_asset = pinned.ticker
left join coins on symbols.base_asset = coins.ticker
