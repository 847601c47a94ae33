"""Studies that come with the program, one TOML each: see `perceptbench.study`."""
