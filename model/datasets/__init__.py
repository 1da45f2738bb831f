"""Readers of data sets of labelled photographs, one for each layout in which a data set is distributed."""
