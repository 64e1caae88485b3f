with revisions as (
    select
        -- ids
        kind,
        venue,
        symbol,
        interval,

        -- what was seen
        score,
        state,
        evidence,
        revision,

        -- times
        opened_at,
        known_at,
        date
    from {{ lake('gold', 'signals') }}
)

{{ newest('revisions', ['kind', 'venue', 'symbol', 'interval', 'opened_at'], 'revision') }}
