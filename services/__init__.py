"""Learnback's services: each knows topics and schemas, none another service's code."""
