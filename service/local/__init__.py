"""mien without a service: the methods and answers of the client, from a bundle in this process."""
