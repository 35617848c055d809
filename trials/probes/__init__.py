"""Probes: what is measured of a run besides its score, a file each. They measure arrays; statistics are not made here.

Every probe works in float32 with dropout off, and leaves weights, buffers, optimiser and random state as they were.
"""
