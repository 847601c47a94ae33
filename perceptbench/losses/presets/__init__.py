"""The feature losses that are ranked, one TOML each; the file's name is the metric's."""
