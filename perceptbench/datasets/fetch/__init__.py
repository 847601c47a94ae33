"""Files of datasets, fetched, verified and unpacked without trust."""
