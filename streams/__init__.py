"""The worker: Faust agents that feed handlers, and what becomes of each attempt."""
