{#- When this build took a row in: what comes after reads on from there, however late the row was. -#}
{% macro loaded_at() -%}
    cast('{{ run_started_at.isoformat() }}' as timestamptz)
{%- endmacro %}

{#- Of an incremental build: only versions that the table does not hold yet. `version` grows with each version of `key`. -#}
{% macro only_unknown(rows, key, version) -%}
    {%- if is_incremental() %}
    where {{ rows }}.known_at >= {{ known_from() }}
        and not exists (
            select 1
            from {{ this }} as held
            where held.{{ version }} >= {{ rows }}.{{ version }}
            {%- for column in key %}
                and held.{{ column }} = {{ rows }}.{{ column }}
            {%- endfor %}
        )
    {%- endif %}
{%- endmacro %}

{#- The time from which on the lake may hold versions that the table lacks, as a literal: it prunes files. -#}
{% macro known_from() -%}
    {%- set newest = none -%}
    {%- if execute -%}
        {%- set newest = run_query("select cast(max(known_at) - interval " ~ var("late_days") ~ " day as varchar) from " ~ this).columns[0].values()[0] -%}
    {%- endif -%}
    cast('{{ newest or "1970-01-01" }}' as timestamptz)
{%- endmacro %}

{#- Of each key the newest version. -#}
{% macro newest(rows, key, version) -%}
    select *
    from {{ rows }}
    qualify row_number() over (partition by {{ key | join(", ") }} order by {{ version }} desc) = 1
{%- endmacro %}

{#- When the table was last built, as a literal. -#}
{% macro last_loaded() -%}
    {%- set newest = none -%}
    {%- if execute -%}
        {%- set newest = run_query("select cast(max(loaded_at) as varchar) from " ~ this).columns[0].values()[0] -%}
    {%- endif -%}
    cast('{{ newest or "1970-01-01" }}' as timestamptz)
{%- endmacro %}
