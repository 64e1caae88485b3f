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

{#- Quote volume by volume, rounded half up to eight decimals; none where nothing was traded. -#}
{% macro vwap(quote_volume, volume) -%}
    case
        when {{ volume }} > 0
            then {{ price("((2 * " ~ units(quote_volume) ~ " + " ~ units(volume) ~ ") // (2 * " ~ units(volume) ~ "))") }}
    end
{%- endmacro %}

{#- The price at a part of the way from an hour's low to its high, rounded down to eight decimals. -#}
{% macro level_price(part, parts) -%}
    {{ price(
        "(" ~ units("hours.low") ~ " + (" ~ units("hours.high") ~ " - " ~ units("hours.low") ~ ") * (" ~ part ~ ") // " ~ parts ~ ")"
    ) }}
{%- endmacro %}
