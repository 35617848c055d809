"""Probes: measurements of a run besides its score. They measure arrays; statistics on these belong elsewhere.

Every probe works in float32 with dropout off, and leaves weights, buffers, optimiser and random state unchanged.
"""
