"""The status view at size, without a broker: what it takes in, and how fast it answers."""
