"""Clusters: what is wrong with a cluster file or with a live cluster, and studies that run on one from elsewhere."""
