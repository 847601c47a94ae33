"""Options that mean the same in every command."""

import shlex
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perceptbench.errors import visible

if TYPE_CHECKING:
    from perceptbench.datasets.dataset import Dataset

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(path_type=Path)

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class _FolderOrUrl(click.Path):
    """A folder that exists, as a Path, or any URL, as it is."""

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> Any:
        return value if "://" in str(value) else super().convert(value, param, context)


def user_cache() -> Path:
    """Where downloads are kept unless --cache-dir says otherwise."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("perceptbench"))


data_dir: Decorator = click.option(
    "--data-dir", type=_FolderOrUrl(exists=True, file_okay=False, path_type=Path),
    metavar="DIR|URL", envvar="PERCEPTBENCH_DATA",
    help="Where datasets lie; what is needed of a URL (s3://..., any fsspec knows) is copied once.",
)  # fmt: skip
weights_dir: Decorator = click.option(
    "--weights-dir", type=FOLDER, envvar="PERCEPTBENCH_WEIGHTS", help="Where network weights lie."
)
cache_dir: Decorator = click.option(
    "--cache-dir", "cache", type=FILE, metavar="DIR", envvar="PERCEPTBENCH_CACHE",
    default=user_cache,
    help="Where downloads and finished distances are kept. [default: the user's cache folder]",
)  # fmt: skip
out: Decorator = click.option(
    "-o", "--out", type=FILE, metavar="DIR", help="[default: runs/<time>]"
)
images: Decorator = click.option(
    "--images", type=FOLDER, help="What image paths in FILE are relative to. [default: its folder]"
)
mos: Decorator = click.option(
    "--mos", type=click.Choice(["mean", "p910"]), default="mean", show_default=True,
    help="How ratings of single people (a column `rater`) become one; p910: less weight to "
    "inconsistent raters, bias taken off (Li et al. 2020, ITU-T P.910).",
)  # fmt: skip
allow_missing: Decorator = click.option(
    "--allow-missing", is_flag=True,
    help="Leave out judgements whose images are not there, and say which.",
)  # fmt: skip
dataset_options: Decorator = click.option(
    "--option", "dataset_options", multiple=True, metavar="NAME=VALUE",
    help="How a dataset is read, as `datasets show` lists it (kernel=bicubic). May repeat.",
)  # fmt: skip
dataset: Decorator = click.option(
    "--dataset", "datasets", multiple=True, metavar="NAME",
    help="A dataset, as `datasets list` names it. May repeat. [default: the embedded suite]",
)  # fmt: skip


device: Decorator = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]|mps",
    help="auto takes the GPU where there is one.",
)  # fmt: skip


class _Size(click.ParamType):
    """``8G`` -> bytes."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> int:
        from perceptbench.scoring.options import parse_size

        try:
            return value if isinstance(value, int) else parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, context)


_SCORING = (
    device,
    click.option(
        "--precision", default="fp32", show_default=True,
        type=click.Choice(["fp32", "tf32", "bf16", "fp16"]),
        help="Of the networks. Below fp32 the rank correlation with fp32 is measured, too.",
    ),
    click.option(
        "--memory", type=_Size(), metavar="SIZE",
        help="Activations held at a time, as 8G. [default: half of what is free]",
    ),
    click.option(
        "--workers", type=click.IntRange(0), metavar="N",
        help="Processes that load images. [default: chosen]",
    ),
    click.option(
        "--store", metavar="DIR|URL|none", envvar="PERCEPTBENCH_STORE",
        help="Where finished distances are kept, so that none is computed twice; shared by runs. "
        "[default: store in the cache folder]",
    ),
    click.option(
        "--compile/--no-compile", "compiled", default=None,
        help="Whether comparisons go through torch.compile. [default: where it pays]",
    ),
    click.option(
        "--engine", default="local", show_default=True, type=click.Choice(["local", "ray"]),
        help="ray: over a Ray cluster, which must reach the store, images and weights.",
    ),
    click.option(
        "--ray-address", metavar="ADDRESS",
        help="Of a running cluster. [default: one on this machine]",
    ),
)  # fmt: skip


def scoring(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `perceptbench.scoring.options`, as the one argument `scoring`."""

    @wraps(command)
    def with_scoring(**given: Any) -> Any:
        from perceptbench.scoring.options import Options

        names = ("device", "precision", "memory", "workers", "engine", "ray_address")
        chosen = {name: given.pop(name) for name in names}
        store = given.pop("store") or str(given["cache"] / "store")
        chosen |= {"store": None if store == "none" else store, "compile": given.pop("compiled")}
        return command(scoring=Options(**chosen), **given)

    command_with: Callable[..., Any] = with_scoring
    for option in reversed(_SCORING):
        command_with = option(command_with)
    return command_with


_DESCENTS = (
    click.option(
        "--images", type=FOLDER, help="References. [default: dead leaves, which are computed]"
    ),
    click.option(
        "--count", default=4, show_default=True, type=click.IntRange(2), help="Of images."
    ),
    click.option(
        "--size", default=64, show_default=True, type=click.IntRange(16, 1024),
        help="Of images, pixels a side.",
    ),
    click.option(
        "--seed", default=0, show_default=True, type=click.IntRange(0),
        help="Of computed images and of noise.",
    ),
    device,
)  # fmt: skip


def descents(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which images are driven somewhere, and where that is computed."""
    for option in reversed(_DESCENTS):
        command = option(command)
    return command


def store(command: Callable[..., Any]) -> Callable[..., Any]:
    """--store and --cache-dir as the one argument `url`."""

    @wraps(command)
    def with_store(store: str | None, cache: Path, **given: Any) -> Any:
        return command(url=store or str(cache / "store"), **given)

    option = click.option(
        "--store", metavar="DIR|URL", envvar="PERCEPTBENCH_STORE",
        help="Where it lies. [default: store in the cache folder]",
    )  # fmt: skip
    return cache_dir(option(with_store))


def tell(datasets: "Iterable[Dataset]") -> None:
    """Says what of some datasets is left out, and what was assumed to read them."""
    for dataset in datasets:
        for sentence in dataset.left_out:
            click.echo(f"perceptbench: dataset {dataset.name}: left out: {sentence}", err=True)
        for sentence in dataset.assumed:
            click.echo(f"perceptbench: {sentence}", err=True)


def command_line() -> str:
    """What the user typed, for the record."""
    return visible(shlex.join(["perceptbench", *sys.argv[1:]]))
