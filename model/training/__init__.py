"""Training of the network: settings, batches, targets, the loop and its checkpoints."""
