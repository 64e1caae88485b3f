{#- A table of the lake; one that is not there yet is read as an empty one with the columns its source declares. -#}
{% macro lake(layer, table) -%}
    {%- set relation = source(layer, table) -%}
    {%- if not execute or lake_has(layer, table) -%}
        {{ relation }}
    {%- else -%}
        (
            select
            {%- for column in lake_columns(layer, table) %}
                cast(null as {{ column.data_type }}) as {{ adapter.quote(column.name) }}{{ "," if not loop.last }}
            {%- endfor %}
            where false
        )
    {%- endif -%}
{%- endmacro %}

{% macro lake_has(layer, table) -%}
    {%- set log = lake_root() ~ "/" ~ layer ~ "/" ~ table ~ "/_delta_log/*" -%}
    {%- set found = run_query("select count(*) from glob('" ~ log | replace("'", "''") ~ "')") -%}
    {{ return(found.columns[0].values()[0] > 0) }}
{%- endmacro %}

{% macro lake_columns(layer, table) -%}
    {%- set named = graph.sources.values() | selectattr("source_name", "equalto", layer) | selectattr("name", "equalto", table) -%}
    {{ return((named | first).columns.values() | list) }}
{%- endmacro %}

{% macro lake_root() -%}
    {{ return(env_var("TAPEHOUSE_LAKE", "../data/delta").rstrip("/")) }}
{%- endmacro %}
