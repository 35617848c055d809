"""What people are shown: progress, status, summary, what a study file asks for."""
