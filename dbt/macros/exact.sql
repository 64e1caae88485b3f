{#- Arithmetic on prices without a float: a decimal as a whole number of its smallest unit, and back. -#}
{% macro units(amount) -%}
    cast(replace(cast({{ amount }} as varchar), '.', '') as hugeint)
{%- endmacro %}

{#- A whole number of 1e-8 as a decimal. -#}
{% macro price(units) -%}
    cast(
        cast({{ units }} // 100000000 as varchar) || '.' || lpad(cast({{ units }} % 100000000 as varchar), 8, '0')
        as decimal(38, 8)
    )
{%- endmacro %}

{#- Quote volume by volume, rounded half to even to eight decimals as the API does; none where nothing was traded. -#}
{% macro vwap(quote_volume, volume) -%}
    {%- set divided = units(quote_volume) ~ " // " ~ units(volume) -%}
    {%- set rest = units(quote_volume) ~ " % " ~ units(volume) -%}
    case
        when {{ volume }} > 0
            then {{ price(
                "(" ~ divided ~ " + cast(2 * (" ~ rest ~ ") + (" ~ divided ~ ") % 2 > " ~ units(volume) ~ " as hugeint))"
            ) }}
    end
{%- endmacro %}

{#- The price at a part of the way from an hour's low to its high, rounded down to eight decimals. -#}
{% macro level_price(part, parts) -%}
    {{ price("(" ~ units("low") ~ " + (" ~ units("high") ~ " - " ~ units("low") ~ ") * (" ~ part ~ ") // " ~ parts ~ ")") }}
{%- endmacro %}
