"""The command line: `learnback`."""
