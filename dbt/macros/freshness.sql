{#- How dbt finds how old a source is: as everywhere, but a table that the lake lacks is named in words. -#}
{% macro duckdb__collect_freshness(source, loaded_at_field, filter) -%}
    {%- if not lake_has(source.schema, source.identifier) -%}
        {{ exceptions.raise_compiler_error(
            "There is no table " ~ source.schema ~ "/" ~ source.identifier ~ " in the lake at " ~ lake_root()
            ~ " yet: `tapehouse up` makes it; TAPEHOUSE_LAKE names another lake."
        ) }}
    {%- endif -%}
    {{ return(default__collect_freshness(source, loaded_at_field, filter)) }}
{%- endmacro %}
