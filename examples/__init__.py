"""Study files to start from, and the recorded truth about the built-in tasks."""
