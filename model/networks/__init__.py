"""Networks in torch, and the weights that they start from."""
