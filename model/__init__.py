"""A face to a point: find and align the face, preprocess, embed; and the training of the network."""
