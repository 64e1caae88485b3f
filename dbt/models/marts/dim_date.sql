with days as (
    select cast(unnest(generate_series(date '2009-01-01', date '2040-12-31', interval 1 day)) as date) as date
)

select
    date,
    year(date) as year,
    quarter(date) as quarter,
    month(date) as month,
    day(date) as day,
    isoyear(date) as iso_year,
    weekofyear(date) as iso_week,
    isodow(date) as iso_weekday,
    isodow(date) >= 6 as is_weekend
from days
