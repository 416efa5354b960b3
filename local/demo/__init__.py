"""The demo: real services, simulated users, and a report of what the loop made of their feedback."""
