"""Recorded tables: what trainings came to, in a folder of `table.json` and `rows.csv`. Loads no pandas."""
