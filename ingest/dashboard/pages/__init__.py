"""Pages and their actions, by noun."""
