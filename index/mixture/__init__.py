"""The mixture of Gaussians over the embedding space: emotions, sub-classes, background."""
