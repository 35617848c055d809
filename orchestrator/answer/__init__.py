"""The answer: lift over the controls with its doubt, and ``selection.json``."""
