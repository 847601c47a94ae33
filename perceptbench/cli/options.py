"""Options that mean the same in every command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(path_type=Path)

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

data_dir: Decorator = click.option(
    "--data-dir", type=FOLDER, envvar="PERCEPTBENCH_DATA", help="Where datasets lie."
)
weights_dir: Decorator = click.option(
    "--weights-dir", type=FOLDER, envvar="PERCEPTBENCH_WEIGHTS", help="Where network weights lie."
)
cache_dir: Decorator = click.option(
    "--cache-dir", type=FILE, metavar="DIR", envvar="PERCEPTBENCH_CACHE",
    help="Where downloads are kept. [default: the user's cache folder]",
)  # fmt: skip


def user_cache() -> Path:
    """Where downloads are kept unless --cache-dir says otherwise."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("perceptbench"))
