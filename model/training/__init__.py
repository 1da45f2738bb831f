"""Training of the network: configuration, batches, targets, the loop and its checkpoints."""
