"""The trainer: training requests in, candidates and progress out. It trains in a child process that can be killed."""
