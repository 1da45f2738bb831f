"""Many faces into a gallery, on one machine or by a cluster."""
