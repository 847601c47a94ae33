"""perceptbench: which image loss agrees with people?

The pieces live in `perceptbench.datasets`, `.losses`, `.metrics`, `.scoring`, `.agreement` and
`.reporting`; importing this package imports none of them.
"""

from importlib.metadata import version

__version__ = version("perceptbench")
