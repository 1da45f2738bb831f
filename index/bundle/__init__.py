"""The bundle: the folder that the service loads. One module for the folder, one for each kind of file in it."""
