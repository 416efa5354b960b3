"""The events that Learnback's services exchange: one source, exported as JSON Schema and AsyncAPI."""
