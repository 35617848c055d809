"""Selectors against recorded tables: what a search would have come to, without training anything."""
