"""Aggregator: predictions and feedback in; error slices, drift alarms and training requests out."""
