"""A study file: YAML with lines, overrides and environment, the models of its keys, every mistake at once."""
