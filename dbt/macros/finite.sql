{#- A ratio, or nothing where it is none: of a spread of zero, or of a single day. -#}
{% macro finite(ratio) -%}
    case when isfinite({{ ratio }}) then {{ ratio }} end
{%- endmacro %}
