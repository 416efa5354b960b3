"""What several services need, and no service: each module is one concept."""
