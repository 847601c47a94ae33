"""``python -m perceptbench``."""

from perceptbench.cli import main

main()
