-- Of each symbol exactly one version is current.
select venue, symbol, count(*) filter (where is_current) as current_versions
from {{ ref('dim_symbol') }}
group by venue, symbol
having count(*) filter (where is_current) <> 1
