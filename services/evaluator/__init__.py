"""The evaluator: candidates in, verdicts and model states out. It alone moves an alias."""
