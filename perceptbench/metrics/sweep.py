"""The losses of a sweep: every tap of some networks with every distance, as metrics to rank.

Conventions
-----------
For each backbone and distance, taps in the order of the network:

- ``alexnet:features.4:cosine``: a single tap;
- ``alexnet:to-features.4:cosine``: the first taps up to this one, equal weights;
- ``alexnet:equal:cosine``: all taps, equal weights;
- ``alexnet:depth:cosine``: all taps, the k-th of n with weight k / n, so that deep ones count more.

``unit_normalised`` has equal channel weights here and is then twice ``cosine``: the two rank alike
by definition.
"""

from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from perceptbench.errors import UsageError, unknown
from perceptbench.losses.backbones import Network, list_taps, load_network
from perceptbench.losses.config import read_loss
from perceptbench.losses.distances import DISTANCES
from perceptbench.losses.networks import architecture
from perceptbench.metrics.protocol import MetricInfo

#: Distance -> how it grows with the difference, see `MetricInfo.scale`.
SCALES = {
    "l1": "linear",
    "l2": "squared",
    "cosine": "squared",
    "gram": "squared",
    "unit_normalised": "squared",
    "cosine_flat": "squared",
    "mean_feature": "linear",
    "wsd": "linear",
    "swd": "squared",
    "jsd": "squared",
    "skld": "squared",
}
DEFAULT_DISTANCES = ("l1", "l2", "cosine", "gram", "unit_normalised")
#: Networks whose taps are those that LPIPS reads: backbone -> preset.
AS_LPIPS = {"alexnet": "lpips-alex", "squeezenet1_1": "lpips-squeeze", "vgg16": "lpips-vgg"}
#: Networks that work on tokens or channels last, whose code hides where a stage ends.
STAGES = {
    "vit_b_16": [f"encoder.layers.encoder_layer_{i}" for i in (2, 5, 8, 11)],
    "swin_t": [f"features.{i}" for i in ("1.1", "3.1", "5.5", "7.1")],
    "convnext_tiny": [f"features.{i}" for i in ("1.2", "3.2", "5.8", "7.2")],
}
#: More activation functions than this are too many for one heat map.
MANY = 8
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Hardswish)
POOLINGS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


def sweep(
    backbones: Sequence[str],
    distances: Sequence[str] = DEFAULT_DISTANCES,
    taps: Sequence[str] = (),
    weights: str = "imagenet",
) -> list[MetricInfo]:
    """The losses of a sweep, each described like one from a file.

    Parameters
    ----------
    backbones, distances : networks, see `networks.architecture`; keys of SCALES.
    taps : layers to read, in the order of the network; none: `default_taps`.
    weights : ``imagenet``, ``random`` (seed 0) or the path of a file; formulas have none.

    Raises
    ------
    UsageError : an unknown network or distance, or layers that a network does not have.
    """
    for name in distances:
        if name not in SCALES:
            if name not in DISTANCES:
                raise unknown("distance", name, SCALES, "sweep -h")
            raise UsageError(
                f"distance {name!r} cannot be swept: it needs numbers of its own; use "
                f"{', '.join(SCALES)}"
            )
    found = []
    for backbone in dict.fromkeys(backbones):
        table = {"name": backbone}
        if not architecture(backbone).options:
            table["weights"] = weights
        layers = list(dict.fromkeys(taps)) or default_taps(backbone)
        for distance in dict.fromkeys(distances):
            head = {"head": [1.0]} if distance == "unit_normalised" else {}
            for which, weighted in _sets(layers):
                rows = [{"layer": layer, "distance": distance, "weight": weight, **head}
                        for layer, weight in weighted]  # fmt: skip
                found.append(
                    MetricInfo(
                        name=f"{backbone}:{which}:{distance}",
                        title=f"{backbone}, {distance}, {which}",
                        source=f"sweep of {backbone}",
                        scale=SCALES[distance],  # type: ignore[arg-type]
                        loss={"backbone": table, "tap": rows},
                    )
                )
    return found


def _sets(layers: Sequence[str]) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Name of each combination and its (layer, weight); no combination twice."""
    for layer in layers:
        yield layer, [(layer, 1.0)]
    count = len(layers)
    if count < 2:
        return
    for k in range(2, count):
        yield f"to-{layers[k - 1]}", [(layer, 1.0) for layer in layers[:k]]
    yield "equal", [(layer, 1.0) for layer in layers]
    yield "depth", [(layer, (k + 1) / count) for k, layer in enumerate(layers)]


def default_taps(backbone: str) -> list[str]:
    """The taps of a network that say most of it, in its order.

    Those of LPIPS where it has the network; all of a network that names its own (the octaves of
    the steerable pyramid); the ends of the STAGES of transformers, four blocks or the stages of
    another library's network; else each activation function, where there are not MANY of them;
    else the last map at each resolution, poolings left out.

    >>> default_taps("steerable-pyramid")
    ['octave1', 'octave2', 'octave3', 'octave4', 'octave5']
    >>> default_taps("small-cnn")
    ['relu1', 'relu2', 'relu3']
    """
    if backbone in AS_LPIPS:
        return [row.layer for row in read_loss(AS_LPIPS[backbone])[0].tap]
    if backbone in STAGES:
        return STAGES[backbone]
    network = load_network(backbone)
    if hasattr(network.module, "taps"):
        return network.nodes[1:]
    of_library = bool(architecture(backbone).library)
    taps = list_taps(network, everything=not of_library)[1:]
    # Maps of one place are no maps: classifiers.
    shapes = {node: shape for _, node, shape in taps if shape[-1] > 1}
    if of_library:
        return _blocks(shapes)
    active = [node for node in shapes if isinstance(_module(network, node), ACTIVATIONS)]
    if 0 < len(active) <= MANY:
        return active
    kept = [node for node in shapes if not _passed_over(_module(network, node))]
    last = {shapes[node][1:]: node for node in kept}
    return list(last.values())


def _blocks(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Of a library's network the last block or stage at each resolution, or if all have one
    resolution, four blocks: those at the ends of its quarters.

    >>> _blocks({f"blocks.{i}": (8, 4, 4) for i in range(12)})
    ['blocks.2', 'blocks.5', 'blocks.8', 'blocks.11']
    """
    numbered = [node for node in shapes if node.rpartition(".")[2].isdigit()] or list(shapes)
    shallow = min(node.count(".") for node in numbered)
    blocks = [node for node in numbered if node.count(".") == shallow]
    last = {shapes[node][1:]: node for node in blocks}
    if len(last) > 1:
        return list(last.values())
    quarters = [round(len(blocks) * k / 4) - 1 for k in (1, 2, 3, 4)]
    return [blocks[k] for k in dict.fromkeys(quarters) if k >= 0]


def _passed_over(module: nn.Module | None) -> bool:
    """Poolings, and what ends with the last of its parts."""
    return module is not None and (
        isinstance(module, POOLINGS) or next(module.children(), None) is not None
    )


def _module(network: Network, node: str) -> nn.Module | None:
    """The module behind a node; None where it is a later call of one."""
    try:
        return network.module.get_submodule(node)
    except AttributeError:
        return None
