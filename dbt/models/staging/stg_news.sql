with versions as (
    select * from {{ lake('bronze', 'news') }}
),

renamed as (
    select
        -- ids
        source,
        key,
        coalesce(fields ->> '$.story', source || ' ' || key) as story,

        -- text
        fields ->> '$.title' as title,
        fields ->> '$.link' as link,
        fields ->> '$.publisher' as publisher,
        coalesce(cast(fields -> '$.tickers' as varchar []), []) as tickers,

        -- scores
        try_cast(fields ->> '$.sentiment' as double) as sentiment,
        fields ->> '$.tone' as tone,

        -- times
        observed_at as published_at,
        known_at,
        cast(observed_at as date) as date
    from versions
)

{{ newest('renamed', ['source', 'key'], 'known_at') }}
