"""What each table and topic is, by who writes it; `tapehouse.catalog` has them all."""
