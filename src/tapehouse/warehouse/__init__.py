"""Warehouse: dbt builds marts over the lake beside the file that readers have, and what is new becomes gold."""
