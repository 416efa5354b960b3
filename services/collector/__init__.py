"""The collector: HTTP in, Kafka out. An answer of 202 means that the broker has the events."""
