{#- The days a reconciliation looks at: all, or in a build those it has just restated. -#}
{% macro days_to_reconcile(model) -%}
    {%- if var("reconcile_all") -%}
        true
    {%- else -%}
        date in (select date from {{ model }} where loaded_at = (select max(loaded_at) from {{ model }}))
    {%- endif -%}
{%- endmacro %}
