"""Views for people: progress, status, summary, and the plan of a study file."""
