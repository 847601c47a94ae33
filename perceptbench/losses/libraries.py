"""Networks of timm, transformers and open_clip: built, filled, and what each says of itself.

Names are ``timm:NAME`` (with its tag: ``timm:vit_small_patch14_dinov2.lvd142m``), ``hf:REPO`` (a
repository of the Hugging Face Hub, or a folder with its ``config.json``) and
``open_clip:NAME:TAG``. Of a model of images and text only the part for images is built. Nothing is
downloaded here: see `weights.find_weights`.
"""

import importlib
import inspect
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from perceptbench.errors import Unavailable, UsageError, first_line, unknown
from perceptbench.losses.inputs import IMAGENET_MEAN, IMAGENET_STD, Input
from perceptbench.losses.networks import LIBRARIES, Kind, Layout

State = Mapping[str, Tensor]
#: timm's networks that do not say how their maps lie in memory -> how they do.
UNSAID = {"VisionTransformerSAM": Layout("nhwc")}
#: Parameters that are one token before those of the grid, by the ends of their names.
CLASS_TOKENS = ("cls_token", "class_embedding", "distillation_token")
#: Kinds of networks of transformers whose tokens are the grid's alone.
BARE = ("siglip", "swin")


@dataclass
class Built:
    """A network as its library makes it.

    Attributes
    ----------
    module : takes images (N, 3, H, W), normalised.
    layout : of its activations, as far as the library says it.
    default : what it was trained on.
    size : height and width that its position embeddings are for; None where it has none.
    patch : pixels a side of a patch, where it takes images of other sizes than `size`.
    call : keyword arguments of each call.
    absent : weights that the file does not hold.
    """

    module: nn.Module
    layout: Layout
    default: Input
    size: tuple[int, int] | None = None
    patch: int | None = None
    call: dict[str, Any] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()


def library(name: str) -> Any:
    """The package of a network's name; raises Unavailable with what to install."""
    key = name.partition(":")[0]
    try:
        return importlib.import_module(LIBRARIES[key])
    except ImportError:
        raise Unavailable(
            f"backbone {name} needs the package `{LIBRARIES[key]}`: "
            f"pip install 'perceptbench[{key}]'"
        ) from None


def repository(name: str) -> tuple[str, str]:
    """Where a network's weights are published: the repository on the Hub, the address; or "".

    Raises
    ------
    Unavailable : the library is not installed.
    UsageError : it has no such network, or open_clip no such weights of it.
    """
    package, (key, _, rest) = library(name), name.partition(":")
    if key == "hf":
        return rest, ""
    if key == "timm":
        _timm_knows(package, rest)
        config = package.get_pretrained_cfg(rest)
        return (config.hf_hub_id or "", config.url or "") if config else ("", "")
    model, _, tag = rest.partition(":")
    config = package.get_pretrained_cfg(model, tag)
    if not config:
        tags = package.list_pretrained_tags_by_model(model)
        raise unknown("pretrained tag", tag, tags, "metrics taps")
    return config["hf_hub"].rstrip("/"), config["url"]


def build(name: str, state: State | None, config: Callable[[str], Path | None]) -> Built:
    """Builds a network, with weights if there are any, else with its own initialisation.

    Parameters
    ----------
    name : see the module's docstring.
    state : its weights, as its library publishes them.
    config : name of a file of a transformers repository -> where it is.

    Raises
    ------
    Unavailable : the library is not installed, or a configuration is not to be had.
    UsageError : there is no such network, or it cannot be built.
    """
    package, (key, _, rest) = library(name), name.partition(":")
    if key == "hf":
        return _transformers(package, name, state, config)
    return (_timm if key == "timm" else _open_clip)(package, rest, state)


def fill(module: nn.Module, state: State, assign: bool = False) -> frozenset[str]:
    """Loads what there is, or takes the tensors themselves; the names of what there is not."""
    wanted = module.state_dict()
    held = {key: state[key] for key in wanted if key in state}
    module.load_state_dict(held, strict=False, assign=assign)
    return frozenset(wanted) - frozenset(held)


def _timm_knows(timm: Any, name: str) -> None:
    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        raise unknown("network of timm", base, timm.list_models(), "metrics taps")
    tags = [m.partition(".")[2] for m in timm.list_pretrained(f"{base}.*")] if tag else []
    if tag and tag not in tags:
        raise unknown(f"tag of timm's {base}", tag, tags, "metrics taps")


def _timm(timm: Any, name: str, state: State | None) -> Built:
    _timm_knows(timm, name)
    try:
        module = timm.create_model(name, num_classes=0, dynamic_img_size=True)
    except TypeError:  # takes no such argument: it has no positions, or cannot interpolate them
        module = timm.create_model(name, num_classes=0)
    said = timm.data.resolve_model_data_config(module)
    size = said["input_size"][1:] if module.pretrained_cfg.get("fixed_input_size") else None
    built = Built(
        module, _timm_layout(module), _default(said["mean"], said["std"], size), size,
        module.patch_embed.patch_size[0] if getattr(module, "dynamic_img_size", False) else None,
    )  # fmt: skip
    if state is not None:
        code = importlib.import_module(type(module).__module__)
        # Published files may have other names, and other grids of positions.
        translate = getattr(code, "checkpoint_filter_fn", lambda state, module: state)
        built.absent = fill(module, translate(dict(state), module))
    return built


def _timm_layout(module: nn.Module) -> Layout:
    if type(module).__name__ in UNSAID:
        return UNSAID[type(module).__name__]
    prefix = getattr(module, "num_prefix_tokens", None)
    if prefix is not None:
        return Layout("tokens", int(prefix))
    return Layout("nhwc" if str(getattr(module, "output_fmt", "")) == "NHWC" else "nchw")


def _default(mean: Any, std: Any, size: tuple[int, int] | None) -> Input:
    return Input(resize=size or "none", kernel="bicubic", mean=tuple(mean), std=tuple(std))


def _open_clip(open_clip: Any, name: str, state: State | None) -> Built:
    model, _, tag = name.partition(":")
    if model not in open_clip.list_models():
        raise unknown("network of open_clip", model, open_clip.list_models(), "metrics taps")
    said = open_clip.get_pretrained_cfg(model, tag)
    quiet = logging.root.manager.disable
    logging.disable(logging.WARNING)  # that it has no weights yet
    try:
        whole = open_clip.create_model(
            model, load_weights=False, pretrained_text=False,
            force_quick_gelu=said.get("quick_gelu", False),
        )  # fmt: skip
    finally:
        logging.disable(quiet)
    visual = whole.visual
    preprocess = {**visual.preprocess_cfg, **said}
    trunk = getattr(visual, "trunk", None)  # a network of timm
    if trunk is not None:
        layout = _timm_layout(trunk)
    else:
        layout = Layout("tokens", 1) if hasattr(visual, "class_embedding") else Layout()
    convolutional = trunk is not None and not trunk.pretrained_cfg.get("fixed_input_size")
    side = visual.image_size
    size = None if convolutional else (side if isinstance(side, tuple) else (side, side))
    built = Built(visual, layout, _default(preprocess["mean"], preprocess["std"], size), size)
    if state is not None:
        convert = importlib.import_module("open_clip.convert")  # of other publishers' files
        state = convert.convert_state_dict(whole, dict(state))
        part = {key.removeprefix("visual."): value for key, value in state.items()}
        built.absent = fill(visual, part)
    return built


def _transformers(
    transformers: Any, name: str, state: State | None, find: Callable[[str], Path | None]
) -> Built:
    path = find("config.json")
    if path is None:
        raise Unavailable(
            f"backbone {name} needs its config.json, which is in no weights folder and not in the "
            f"cache of transformers; put it into a folder {name.partition(':')[2]} there"
        )
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(path.parent, local_files_only=True)
        module = transformers.AutoModel.from_config(config)
    except Exception as error:  # transformers raises many kinds
        raise UsageError(f"backbone {name} cannot be built ({first_line(error)})") from None
    absent: frozenset[str] = frozenset()
    if state is not None:
        module, report = type(module).from_pretrained(
            None, config=config, state_dict=dict(state), output_loading_info=True
        )
        absent = frozenset(report["missing_keys"])
    for part in ("vision_model", "vision_encoder"):  # of a model of images and text, or SAM
        if hasattr(module, "text_model") or hasattr(module, "mask_decoder"):
            inner = getattr(module, part, None)
            if inner is not None:
                module = inner
                head = f"{part}."
                absent = frozenset(k.removeprefix(head) for k in absent if k.startswith(head))
    return _transformers_built(module, absent, find("preprocessor_config.json"))


def _transformers_built(module: Any, absent: frozenset[str], said: Path | None) -> Built:
    """What a network of transformers says of itself; the statistics of ImageNet if it does not."""
    config = module.config
    names = [key for key, _ in module.named_parameters()]
    prefix: int | None = sum(key.endswith(CLASS_TOKENS) for key in names)
    if prefix:
        prefix += getattr(config, "num_register_tokens", 0)
    elif not any(kind in config.model_type for kind in BARE):
        prefix = None
    takes = inspect.signature(module.forward).parameters
    call = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in takes else {}
    parts = list(module.named_modules())
    any_size = bool(call) or any(
        "rope" in key or hasattr(part, "interpolate_pos_encoding") for key, part in parts
    )
    side: Any = getattr(config, "image_size", None)
    patch = getattr(config, "patch_size", None)
    fixed = side is not None and patch is not None and (prefix is not None or not any_size)
    size = None
    if fixed and not hasattr(config, "depths"):
        height, width = (side, side) if isinstance(side, int) else side
        size = (height, width)
    table = json.loads(said.read_text(encoding="utf-8")) if said is not None else {}
    mean, std = table.get("image_mean", IMAGENET_MEAN), table.get("image_std", IMAGENET_STD)
    kind: Kind = "nhwc" if hasattr(module, "neck") else "nchw"
    patch = patch if any_size and isinstance(patch, int) else None
    return Built(
        module, Layout(kind, prefix), _default(mean, std, size), size, patch, call, absent
    )  # fmt: skip
