"""The mirror of a study in MLflow, written beside the search."""
