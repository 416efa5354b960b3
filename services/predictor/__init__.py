"""The predictor: answers over HTTP, predictions out; it follows the model states and swaps between two batches."""
