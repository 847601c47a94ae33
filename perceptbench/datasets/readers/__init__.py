"""One file an archive family: a folder on disk in, a Dataset out."""
