"""The nemesis: it loads a whole installation, breaks it at random, and then proves what became of every event."""
