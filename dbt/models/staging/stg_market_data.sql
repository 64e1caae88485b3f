with versions as (
    select * from {{ lake('bronze', 'market_data') }}
    where source <> 'coingecko_global'
),

renamed as (
    select
        -- ids
        source,
        split_part(key, '/', 1) as coin,
        upper(fields ->> '$.symbol') as ticker,
        fields ->> '$.name' as name,

        -- amounts in US dollars
        try_cast(fields ->> '$.current_price' as decimal(38, 18)) as price,
        try_cast(fields ->> '$.market_cap' as decimal(38, 18)) as market_cap,
        try_cast(fields ->> '$.total_volume' as decimal(38, 18)) as volume_24h,

        -- coins
        try_cast(fields ->> '$.circulating_supply' as decimal(38, 18)) as circulating_supply,
        try_cast(fields ->> '$.market_cap_rank' as bigint) as market_cap_rank,

        -- times
        observed_at,
        known_at,
        cast(observed_at as date) as date
    from versions
)

{{ newest('renamed', ['source', 'coin', 'observed_at'], 'known_at') }}
