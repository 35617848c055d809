"""Trains one multi-task model: tasks, encoders, the training loop and what it measures."""
