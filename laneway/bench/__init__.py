"""The benchmark: ``laneway bench`` starts the system by its public commands and measures it from outside."""
