"""Decides what is trained next and what it may cost: the agenda, the budget, confirm. Knows nothing of Ray."""
