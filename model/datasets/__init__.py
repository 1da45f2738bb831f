"""Data sets of labelled photographs, each read in the layout in which its owner distributes it."""
