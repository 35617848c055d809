"""Faults injected for real, counted: what was lost, what was counted twice, how it ended."""
