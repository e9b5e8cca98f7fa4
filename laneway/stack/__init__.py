"""The whole system on one machine: broker, API, workers and a mail sink, started, watched and stopped together."""
