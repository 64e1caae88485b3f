{#- What candles are compared by. -#}
{% macro sums_of_candles() -%}
    count(*) as candles,
    sum(volume) as volume,
    sum(quote_volume) as quote_volume,
    sum(trades) as trades,
    sum(taker_buy_volume) as taker_buy_volume,
    sum(taker_buy_quote_volume) as taker_buy_quote_volume,
    sum(revision) as revisions
{%- endmacro %}
