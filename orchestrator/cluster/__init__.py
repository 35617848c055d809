"""Clusters: what is wrong with a cluster file or with a live cluster, and which nodes are asked for."""
