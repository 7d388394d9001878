"""Training: trainer, hooks, averaged weights, runs of one or several processes."""
