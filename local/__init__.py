"""One machine: a real Kafka from packages, the process supervisor, the demo and its data."""
