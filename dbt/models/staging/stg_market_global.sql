with versions as (
    select * from {{ lake('bronze', 'market_data') }}
    where source = 'coingecko_global'
),

renamed as (
    select
        -- ids
        source,

        -- amounts in US dollars
        try_cast(fields ->> '$.total_market_cap' as decimal(38, 18)) as market_cap,
        try_cast(fields ->> '$.total_volume' as decimal(38, 18)) as volume_24h,

        -- percent
        try_cast(fields ->> '$.market_cap_percentage_btc' as double) as btc_dominance,
        try_cast(fields ->> '$.market_cap_percentage_eth' as double) as eth_dominance,

        -- times
        observed_at,
        known_at,
        cast(observed_at as date) as date
    from versions
)

{{ newest('renamed', ['source', 'observed_at'], 'known_at') }}
