"""A point to its neighbours and its name: gallery, mixture, bundle, build, evaluate."""
