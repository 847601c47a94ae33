"""What a metric is: the protocol that metrics keep, ours and those of other packages.

A metric is one class or function, called with two batches of images, reference first::

    metric(reference: (N, 3, H, W), distorted: (N, 3, H, W)) -> (N,)

It returns one number a pair. A class is instantiated without arguments first. One that can be
written in two halves may have, beside that or instead, methods ::

    embed(images: (N, 3, H, W)) -> embedding, a tensor (N, ...) or a tuple of such tensors
    compare(embedding of the references, embedding of the distorted images) -> (N,)

and then joins the one pass: each image is embedded once, however many pairs it is in. What it
needs and says of itself are attributes of the class or function, all optional, named as the keys of
`MetricInfo` that are in DECLARED:

>>> def closeness(reference, distorted):
...     "Similarity of grey levels."
...     return 1 - (reference - distorted).abs().mean((1, 2, 3))
>>> closeness.higher_is_better, closeness.identical, closeness.colour_space = True, 1.0, "luma"
>>> declared(closeness, MetricInfo(name="closeness", title="", source="")).title
'Similarity of grey levels.'

An attribute ``loss`` (or a dictionary in place of the class) holds the tables of a loss file, see
`perceptbench.losses.config`: such a metric is a loss like ours, and takes part in the same passes.

A metric leaves its inputs and torch's global state alone, and gives a pair the same number in any
batch, every time; `perceptbench metrics check` measures that.
"""

import inspect
import re
import shlex
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
)

from perceptbench.errors import Unavailable


class Program(BaseModel):
    """An external program as a metric; see `perceptbench.metrics.program`.

    Attributes
    ----------
    command : ``{reference}`` and ``{distorted}`` stand for image files in it.
    pattern : a regular expression; its first match in the output holds the number, as its group 1
        or, without a group, as a whole. Default: the first number.
    timeout : seconds one pair may take.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: str
    pattern: str = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
    timeout: PositiveFloat = 60.0

    @field_validator("command")
    @classmethod
    def _takes_both(cls, command: str) -> str:
        for placeholder in ("{reference}", "{distorted}"):
            if placeholder not in command:
                raise ValueError(f"the command lacks {placeholder}")
        shlex.split(command)
        return command

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"is no regular expression ({error})") from None
        return pattern


class MetricInfo(BaseModel):
    """What a metric needs and says of itself; the keys of its TOML file.

    Attributes
    ----------
    name : lower case with dashes; the file's or the entry point's name.
    title : one line for people; default: the first line of its docstring.
    citation : the paper, with its DOI or arXiv number.
    version : of the metric; default: its package's.
    default : whether a run without ``-m`` ranks it.
    colour_space : what it is fed: ``srgb`` (coded values), ``linear`` light, ``luma`` (Rec. 601
        luma of the coded values, one channel), ``lab`` (CIELAB of D65).
    value_range : what black and white are fed as; not for ``lab``.
    min_size : smallest image side in pixels it is defined for.
    pixels_per_degree : for metrics that need the viewing distance (keyword argument of that
        name), the value assumed where the judgements carry none.
    higher_is_better : whether its number is a similarity.
    identical : its number for identical images, from which distances are counted. None: 0 for a
        distance, unknown for a similarity (which then enters as its negative, and is ordinal).
    differentiable : whether a gradient reaches the images; None: not known.
    scale : how the distance grows with the difference, which STRESS asks for. ``linear``: in
        proportion; ``squared``: as its square, so that STRESS takes the root (mean squares; a
        similarity that is highest for identical images has no linear term there, hence 1 - SSIM
        too); ``ordinal``: only its order means something (decibels), so that it has no STRESS.
    trained_on : datasets its weights were fitted to.
    timeout : seconds one batch may take before the metric counts as hung.
    requires : modules it imports.
    extra : the extra of perceptbench that installs them.
    downloads : where it fetches weights from, as people say it.
    weights_dir : whether it takes the folder of network weights (keyword argument of that name).
    metric : ``module:attribute`` of a class or function; or else
    loss : the tables of a loss file (LOSS_KEYS), see `perceptbench.losses.config`; or else
    program : an external program.
    options : keyword arguments for `metric`.
    source : where it was found (a file or an entry point).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    source: str
    citation: str = ""
    version: str = ""
    default: bool = False
    colour_space: Literal["srgb", "linear", "luma", "lab"] = "srgb"
    value_range: tuple[float, float] = (0.0, 1.0)
    min_size: PositiveInt = 1
    pixels_per_degree: PositiveFloat | None = None
    higher_is_better: bool = False
    identical: float | None = Field(default=None, allow_inf_nan=False)
    differentiable: bool | None = None
    scale: Literal["linear", "squared", "ordinal"] = "linear"
    trained_on: tuple[str, ...] = ()
    timeout: PositiveFloat = 300.0
    requires: tuple[str, ...] = ()
    extra: str = ""
    downloads: str = ""
    weights_dir: bool = False
    metric: str | None = None
    loss: dict[str, Any] | None = None
    program: Program | None = None
    options: dict[str, Any] = {}


#: What a class or function may say of itself.
DECLARED = (
    "title", "citation", "version", "colour_space", "value_range", "min_size",
    "pixels_per_degree", "higher_is_better", "identical", "differentiable", "scale", "trained_on",
    "timeout", "weights_dir", "loss",
)  # fmt: skip


def declared(target: Any, info: MetricInfo) -> MetricInfo:
    """`info`, completed by what the metric's class or function says of itself.

    Raises
    ------
    Unavailable : it declares something that is not of the kind it should be; names the attribute.
    """
    if isinstance(target, dict):
        said: dict[str, Any] = {"loss": target}
    else:
        said = {key: getattr(target, key, None) for key in DECLARED}
        said["title"] = said["title"] or (inspect.getdoc(target) or "").partition("\n")[0]
    plain = {k: v for k, v in said.items() if _is_plain(v)}
    if plain.get("higher_is_better") and plain.get("identical") is None:
        plain.setdefault("scale", "ordinal")
    try:
        return MetricInfo.model_validate({**info.model_dump(), **plain})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise Unavailable(
            f"{info.metric}: attribute `{key}` is {first['input']!r}: {first['msg'].lower()}"
        ) from None


def _is_plain(value: Any) -> bool:
    """Whether an attribute can be meant: no method or property of the same name, nothing empty."""
    return not (value is None or value == "" or callable(value) or isinstance(value, property))
