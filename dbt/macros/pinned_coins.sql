{#- Which coin of CoinGecko a ticker names, as the platform says (TAPEHOUSE_COINGECKO_COINS, such as ONE=harmony,GAS=gas). -#}
{% macro pinned_coins() -%}
    {%- set pins = {} -%}
    {%- for pin in env_var("TAPEHOUSE_COINGECKO_COINS", "").split(",") if "=" in pin -%}
        {%- set ticker, coin = pin.split("=", 1) -%}
        {%- do pins.update({ticker.strip().upper(): coin.strip()}) -%}
    {%- endfor -%}
    select ticker, coin
    from (
        values
        {%- for ticker, coin in pins.items() %}
            ('{{ ticker | replace("'", "''") }}', '{{ coin | replace("'", "''") }}'),
        {%- endfor %}
            (null, null)
    ) as pins (ticker, coin)
    where ticker is not null
{%- endmacro %}
