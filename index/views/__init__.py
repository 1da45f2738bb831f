"""Views of the embedding space: map, atlas, occlusion maps and portraits."""
