{#- The candles that are called closed or quiet and lack a price, or have a low that is not the least or a high that is not the greatest. -#}
{% macro not_whole(candles) -%}
select venue, symbol, opened_at
from {{ candles }}
where state in ('closed', 'quiet')
    and coalesce(low > least(open, close) or high < greatest(open, close) or low > high, true)
{%- endmacro %}
