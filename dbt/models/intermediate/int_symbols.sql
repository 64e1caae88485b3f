-- What is known of each symbol now: what the exchange says, and for a symbol it has not been asked about, what its name
-- says: it ends in a quote asset, the longest one unless with another the platform knows the coin that is left. The coin is
-- the one the platform takes the base asset's ticker for; of a ticker it has none for, the one CoinGecko tells of, the
-- largest where several have it.
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

named as (
    select
        traded.venue,
        traded.symbol,
        quotes.quote_asset,
        left(traded.symbol, -length(quotes.quote_asset)) as base_asset
    from traded
    inner join (select unnest(['{{ var("quotes") | join("', '") }}']) as quote_asset) as quotes
        on suffix(traded.symbol, quotes.quote_asset) and traded.symbol != quotes.quote_asset
    left join pinned on left(traded.symbol, -length(quotes.quote_asset)) = pinned.ticker
    qualify row_number() over (
        partition by traded.venue, traded.symbol order by pinned.ticker is null, length(quotes.quote_asset) desc
    ) = 1
),

symbols as (
    select
        venue,
        symbol,
        coalesce(listed.base_asset, named.base_asset, symbol) as base_asset,
        coalesce(listed.quote_asset, named.quote_asset) as quote_asset,
        listed.tick_size,
        listed.step_size,
        coalesce(listed.status, 'UNKNOWN') as status,
        coalesce(listed.known_at, traded.first_known_at) as known_at
    from listed
    full join traded using (venue, symbol)
    left join named using (venue, symbol)
)

select
    symbols.*,
    coalesce(pinned.coin, coins.coin) as coingecko_id
from symbols
left join pinned on symbols.base_asset = pinned.ticker
left join coins on symbols.base_asset = coins.ticker
