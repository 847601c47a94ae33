"""The metrics that are no feature loss, one TOML each; the file's name is the metric's."""
