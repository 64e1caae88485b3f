-- The history is that of the snapshot; before the first snapshot there is one version of each symbol.
{% set snapshot = ref('snap_symbol') %}
{% set has_snapshot = execute and load_relation(snapshot) is not none %}
with versions as (
    {% if has_snapshot %}
    select *, dbt_valid_from as valid_from, dbt_valid_to as valid_to from {{ snapshot }}
    {% else %}
    select *, {{ loaded_at() }} as valid_from, cast(null as timestamptz) as valid_to from {{ ref('int_symbols') }}
    {% endif %}
)

select
    venue,
    symbol,
    base_asset,
    quote_asset,
    tick_size,
    step_size,
    status,
    coingecko_id,
    -- what was before the first version is told by it as well
    case
        when row_number() over (partition by venue, symbol order by valid_from) = 1 then timestamptz '1970-01-01'
        else cast(valid_from as timestamptz)
    end as valid_from,
    cast(valid_to as timestamptz) as valid_to,
    valid_to is null as is_current
from versions
