"""Clusters: what is wrong with a cluster file or a live cluster, its nodes, and studies sent there from elsewhere."""
