"""Writes a package with a metric in it: what `perceptbench metrics new` gives to start from."""

import re
from pathlib import Path

from perceptbench.errors import UsageError
from perceptbench.writing import together

_PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.1.0"
description = "A metric for perceptbench"
requires-python = ">=3.11"
dependencies = ["perceptbench", "torch"]

[project.entry-points."perceptbench.metrics"]
{name} = "{module}:{cls}"

[tool.hatch.build.targets.wheel]
packages = ["{module}"]
"""

_MODULE = '''\
"""{name}: a metric for perceptbench, see `perceptbench.metrics.protocol`."""

from torch import Tensor


class {cls}:
    """Root mean squared error of luma; say here in one line what yours measures."""

    colour_space = "luma"  # or "srgb", "linear", "lab"
    value_range = (0.0, 1.0)  # what black and white are fed as
    min_size = 1  # pixels a side
    higher_is_better = False
    identical = 0.0  # the number of identical images
    differentiable = True
    scale = "linear"  # how it grows with the difference; or "squared", "ordinal"
    citation = ""

    def __call__(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """(N, 1, H, W) twice ((N, 3, H, W) in colour) -> (N,)."""
        return self.compare(self.embed(reference), self.embed(distorted))

    # Optional: what can be done once an image, however many pairs it is in, and the rest. Without
    # these two, a metric is what `__call__` says of pairs.

    def embed(self, images: Tensor) -> Tensor:
        """(N, 1, H, W) -> what is compared, a tensor (N, ...) or a tuple of such tensors."""
        return images.flatten(1)

    def compare(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """Two embeddings -> (N,)."""
        squared = (reference - distorted).square().mean(1)
        return (squared + 1e-12).sqrt() - 1e-6  # finite gradient for identical images
'''

_TEST = '''\
"""{name} keeps the protocol: what `perceptbench metrics check {name}` looks at."""

from perceptbench.metrics.card import check
from perceptbench.metrics.registry import build, catalogue


def test_it_is_found_and_conforms():
    card = check(build(catalogue().metrics["{name}"], None))
    assert not card.failed, card.failed
'''

_README = """\
# {name}

```sh
pip install -e .
perceptbench metrics list          # {name} is among them
perceptbench metrics check {name}
perceptbench run -m {name} -m mse
```
"""


def write_package(name: str, parent: Path) -> Path:
    """Writes the package `name` into a new folder of that name in `parent`, which it returns.

    Raises
    ------
    UsageError : the name is not lower case with dashes, or the folder is there already.
    DataError : `parent` cannot be written to.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UsageError(f"a metric's name is lower case with dashes, not {name!r}")
    folder = parent / name
    if folder.exists():
        raise UsageError(f"{folder} exists already; choose another name or --out")
    module = name.replace("-", "_")
    cls = "".join(part.capitalize() for part in name.split("-"))
    with together(parent) as draft:
        for path, text in {
            "pyproject.toml": _PYPROJECT,
            "README.md": _README,
            f"{module}/__init__.py": _MODULE,
            f"tests/test_{module}.py": _TEST,
        }.items():
            (draft / name / path).parent.mkdir(parents=True, exist_ok=True)
            filled = text.format(name=name, module=module, cls=cls)
            (draft / name / path).write_text(filled, encoding="utf-8")
    return folder
