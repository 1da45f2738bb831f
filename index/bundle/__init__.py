"""The bundle: the folder that the service loads."""
