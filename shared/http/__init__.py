"""What the HTTP services share: refusals, strict bodies, keys, probes, their documentation, and the server."""
