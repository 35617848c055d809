"""Runs studies: Ray Tune, MLflow, study files and the command line."""

from auxtune.orchestrator.study import Study

__all__ = ["Study"]
