"""Kafka for every process: client configuration, the one producer, topic administration, the embedded broker."""
