with versions as (
    select * from {{ lake('bronze', 'sentiment') }}
),

renamed as (
    select
        source,
        try_cast(key as date) as date,
        try_cast(fields ->> '$.value' as bigint) as value,
        fields ->> '$.value_classification' as classification,
        observed_at,
        known_at
    from versions
)

{{ newest('renamed', ['source', 'date'], 'known_at') }}
