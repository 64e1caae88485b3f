with versions as (
    select * from {{ lake('bronze', 'symbols') }}
),

renamed as (
    select
        -- ids
        source as venue,
        key as symbol,
        fields ->> '$.base_asset' as base_asset,
        fields ->> '$.quote_asset' as quote_asset,

        -- steps
        try_cast(fields ->> '$.tick_size' as decimal(38, 8)) as tick_size,
        try_cast(fields ->> '$.step_size' as decimal(38, 8)) as step_size,

        fields ->> '$.status' as status,

        -- times
        known_at
    from versions
)

{{ newest('renamed', ['venue', 'symbol'], 'known_at') }}
