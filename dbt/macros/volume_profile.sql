{#- Of each hour the price with most volume and the edges of the area that holds 70 % of it, of `parts` levels from its low to its high. -#}
{% macro volume_profile(minutes, hours, parts) -%}
    -- a minute's volume counts at the level its average price lies on; a float picks the level, no price is made from it
    with levels as (
        select
            minutes.venue,
            minutes.symbol,
            minutes.hour,
            hours.low,
            hours.high,
            case
                when hours.high = hours.low then 0
                else least({{ parts - 1 }}, greatest(0, cast(floor(
                    (cast(minutes.quote_volume as double) / cast(minutes.volume as double) - cast(hours.low as double))
                    / cast(hours.high - hours.low as double) * {{ parts }}
                ) as bigint)))
            end as level,
            sum(minutes.volume) as volume
        from {{ minutes }} as minutes
        inner join {{ hours }} as hours using (venue, symbol, hour)
        where minutes.volume > 0
        group by all
    ),

    ranked as (
        select
            *,
            sum(volume) over (partition by venue, symbol, hour order by volume desc, level) - volume as volume_above,
            sum(volume) over (partition by venue, symbol, hour) as volume_of_hour
        from levels
    ),

    areas as (
        select
            venue,
            symbol,
            hour,
            low,
            high,
            min(level) filter (where volume_above = 0) as busiest_level,
            min(level) as lowest_level,
            max(level) as highest_level
        from ranked
        where volume_above * 10 < volume_of_hour * 7
        group by all
    )

    select
        venue,
        symbol,
        hour,
        {{ level_price('2 * busiest_level + 1', 2 * parts) }} as busiest_price,
        {{ level_price('lowest_level', parts) }} as value_area_low,
        {{ level_price('highest_level + 1', parts) }} as value_area_high
    from areas
{%- endmacro %}
