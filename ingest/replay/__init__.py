"""Replays: reprocessing the past on purpose. The API keeps jobs, and a process of its own plans and runs them."""
