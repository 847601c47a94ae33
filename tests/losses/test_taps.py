"""Networks that are read by forward hooks, and those of other libraries; with random weights."""

import functools
import json
import re
import sys
import types
from importlib import resources
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from perceptbench.errors import DataError, Unavailable, UsageError
from perceptbench.losses import Backbone, FeatureLoss, Input, Term, libraries, load_network
from perceptbench.losses import weights as weights_module
from perceptbench.losses.backbones import list_taps
from perceptbench.losses.config import Networks, build_loss, parse_loss, read_loss, resolve
from perceptbench.losses.weights import find_weights

ANY_SIZE = {"timm:test_vit": (48, 80), "timm:test_convnext": (65, 97), "timm:test_vit3": (64, 32)}


#: Networks are looked through when they are loaded: once for all tests that leave them as they are.
network_of = functools.cache(load_network)


def needs(package):
    return pytest.importorskip(package, reason=f"the package {package} is not installed")


def images(*size, batch=2):
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(0))


def interpolated(network):
    handling = network.default.model_dump()
    if network.patch is not None:
        handling |= {"resize": "none", "multiple": network.patch, "positions": "interpolated"}
    return Input.model_validate(handling)


def ready(backbone, batch):
    """A batch as the network takes it."""
    given = backbone.input.normalise(backbone.input.fit(batch))
    return given.contiguous(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Makes a folder like a repository of a tiny network of transformers: (name, its model)."""
    transformers = needs("transformers")

    def make(kind, **options):
        small = {
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 48, "image_size": 56, "patch_size": 14,
        }  # fmt: skip
        config = getattr(transformers, kind)(**{**small, **options})
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(config)
        folder = tmp_path_factory.mktemp(kind)
        model.save_pretrained(folder)
        return f"hf:{folder}", model

    return make


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    open_clip = needs("open_clip")
    folder = tmp_path_factory.mktemp("open_clip")
    tower = {"width": 32, "layers": 2, "heads": 2}
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8,
                       "head_width": 16},
        "text_cfg": {"context_length": 8, "vocab_size": 16, **tower},
    }  # fmt: skip
    (folder / "tiny-vit.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    return "open_clip:tiny-vit"


def check_taps(network, batch):
    """Every tap is what a hook of the test's own takes, whatever else is read with it."""
    taps = [node for node in network.nodes[1:]]
    backbone = Backbone(network, taps, interpolated(network))
    at = {}

    def keep(name):
        def hook(module, given, output):
            at.setdefault(name, output.clone() if isinstance(output, torch.Tensor) else output)

        return hook

    handles = [m.register_forward_hook(keep(n)) for n, m in network.module.named_modules() if n]
    with torch.no_grad():
        network.module(ready(backbone, batch), **network.call)
        for handle in handles:
            handle.remove()
        raw = network.read(backbone.trunk, ready(backbone, batch))
    compared = 0
    for node, spot in network.found.spots.items():
        if spot.part == "output" and spot.call == 0 and node in at:
            assert torch.equal(raw[node], at[node] if isinstance(at[node], torch.Tensor)
                               else at[node][0]), node  # fmt: skip
            compared += 1
    assert compared > 20
    return raw


@pytest.mark.parametrize("name", ANY_SIZE)
def test_every_tap_is_what_a_forward_hook_takes(name):
    needs("timm")
    check_taps(network_of(name), images(*ANY_SIZE[name]))


def test_so_it_is_with_transformers_and_open_clip(repository, tiny_clip):
    check_taps(load_network(repository("Dinov2WithRegistersConfig")[0]), images(30, 57))
    check_taps(load_network(repository("ViTConfig")[0]), images(56, 84))
    check_taps(load_network(tiny_clip), images(40, 50))


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_convnext"])
def test_one_pass_equals_a_pass_for_each_tap(name):
    needs("timm")
    network = network_of(name)
    taps = [node for _, node, _ in list_taps(network)]
    batch = images(*ANY_SIZE[name])
    together = Backbone(network, taps, interpolated(network))(batch)
    for tap in taps:
        alone = Backbone(network, [tap], interpolated(network))(batch)[tap]
        assert torch.equal(alone, together[tap]), tap
        assert alone.dim() == 4 and len(alone) == 2


def test_the_pass_stops_at_the_deepest_tap():
    needs("timm")
    network = load_network("timm:test_vit")
    network.module.blocks[3].register_forward_pre_hook(lambda *_: pytest.fail("went on"))
    backbone = Backbone(network, ["blocks.1", "blocks.2.attn.k"])
    assert set(backbone(images(48, 48))) == {"blocks.1", "blocks.2.attn.k"}
    assert not any(key.startswith(("blocks.3", "norm.")) for key in backbone.weights())
    assert {"pos_embed", "cls_token", "blocks.2.attn.qkv.weight"} <= set(backbone.weights())


def test_keys_and_queries_are_the_attentions_own(tiny_clip):
    needs("timm")
    network = network_of("timm:test_vit")
    backbone = Backbone(network, ["blocks.0.attn.k", "blocks.0.attn.q", "blocks.0.norm1"])
    raw = network.read(backbone.trunk, ready(backbone, images(48, 48)))
    attention = network.module.blocks[0].attn
    thirds = attention.qkv(raw["blocks.0.norm1"]).chunk(3, dim=2)
    torch.testing.assert_close(raw["blocks.0.attn.q"], thirds[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(raw["blocks.0.attn.k"], thirds[1], rtol=0, atol=1e-6)

    clip = load_network(tiny_clip)
    block = "transformer.resblocks.1"
    backbone = Backbone(clip, [f"{block}.attn.k", f"{block}.ln_1"])
    raw = clip.read(backbone.trunk, ready(backbone, images(32, 32)))
    part = clip.module.get_submodule(f"{block}.attn")
    rows = slice(32, 64)
    expected = raw[f"{block}.ln_1"] @ part.in_proj_weight[rows].T + part.in_proj_bias[rows]
    torch.testing.assert_close(raw[f"{block}.attn.k"], expected, rtol=0, atol=1e-6)


def test_what_people_name_is_listed(repository, tiny_clip):
    needs("timm")
    listed = {node for _, node, _ in list_taps(network_of("timm:test_vit"))}
    assert {"blocks.0", "blocks.5", "blocks.5.attn.k", "norm", "embedding"} <= listed
    assert not any("mlp" in node for node in listed)
    everything = {node for _, node, _ in list_taps(network_of("timm:test_vit"), everything=True)}
    assert "blocks.0.mlp.fc1" in everything and listed < everything
    listed = {node: shape for _, node, shape in list_taps(network_of("timm:test_convnext"))}
    assert listed["stages.0"] == (24, 56, 56) and listed["embedding"] == (64, 1, 1)
    listed = {node for _, node, _ in list_taps(load_network(repository("Dinov2Config")[0]))}
    assert {"encoder.layer.1", "layernorm", "embedding"} <= listed
    assert any(node.endswith(("key", "k_proj")) for node in listed)
    assert list_taps(load_network(tiny_clip))[-1][1:] == ("embedding", (24, 1, 1))


def test_the_embedding_is_what_the_network_gives(repository, tiny_clip):
    name, _ = repository("Dinov2Config")
    network = load_network(name)
    batch = images(56, 56)
    backbone = Backbone(network, ["embedding"])
    given = network.module(ready(backbone, batch)).pooler_output
    assert torch.equal(backbone(batch)["embedding"][..., 0, 0], given)
    clip = load_network(tiny_clip)
    backbone = Backbone(clip, ["embedding"])
    given = clip.module(ready(backbone, batch))
    assert torch.equal(backbone(batch)["embedding"][..., 0, 0], given)


@pytest.mark.parametrize("size", [(48, 80), (79, 33), (15, 100)])
def test_tokens_lie_where_their_patches_are(size):
    needs("timm")
    network = network_of("timm:test_vit3")  # with a class token, no other
    backbone = Backbone(network, ["patch_embed.proj", "pos_drop"], interpolated(network))
    assert network.layout.prefix_tokens == network.module.num_prefix_tokens
    found = backbone(images(*size))
    rows, columns = (max(1, round(side / 16)) for side in size)
    assert found["pos_drop"].shape[2:] == found["patch_embed.proj"].shape[2:] == (rows, columns)
    # Position embeddings are added to patches: another patch changes its own token alone.
    other = images(*size)
    patch = (
        slice(None),
        slice(None),
        slice(0, size[0] // rows // 2),
        slice(0, size[1] // columns // 2),
    )
    other[patch] = 1 - other[patch]
    moved = (backbone(other)["pos_drop"] - found["pos_drop"]).abs().amax((0, 1)) > 1e-4
    assert moved[0, 0] and not moved[1:].any() and not moved[:, 2:].any()


def test_maps_of_any_order_have_their_channels_second(repository):
    needs("timm")
    found = dict((n, s) for _, n, s in list_taps(network_of("timm:test_convnext"), 64, True))
    # Inside a block channels come last, outside they come second.
    assert found["stages.0.blocks.0.mlp.fc1"][1:] == found["stages.0.blocks.0"][1:] == (16, 16)
    assert found["stages.0.blocks.0.mlp.act"][1:] == (16, 16)
    swin = load_network("timm:swin_tiny_patch4_window7_224")
    found = dict((n, s) for _, n, s in list_taps(swin))
    assert found["layers.0"] == (96, 56, 56) and found["layers.3"] == (768, 7, 7)
    siglip = load_network(repository("SiglipVisionConfig")[0])
    assert siglip.layout.prefix_tokens == 0
    backbone = Backbone(siglip, ["encoder.layers.1"], interpolated(siglip))
    assert backbone(images(28, 70))["encoder.layers.1"].shape == (2, 32, 2, 5)


class Tokens(nn.Module):
    """A transformer that nobody knows: two register tokens, a grid of 4 x 6, and no trace."""

    def __init__(self, registers=2):
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, stride=4)
        self.mix = nn.Linear(8, 8)
        self.registers = nn.Parameter(torch.randn(1, registers, 8))

    def forward(self, x):
        if x.sum() > 1e9:
            return x
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        return self.mix(torch.cat([self.registers.expand(len(x), -1, -1), tokens], 1)).mean(1)


@pytest.fixture
def mine(monkeypatch):
    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(Tokens=Tokens))
    return "mine:Tokens"


def test_a_layout_that_is_not_known_is_stated(mine):
    batch = images(16, 24)
    with pytest.raises(UsageError, match=r"say `prefix_tokens` in .backbone"):
        Backbone(load_network(mine), ["mix"])(batch)
    network = load_network(mine, layout={"prefix_tokens": 2})
    found = Backbone(network, ["mix"])(batch)["mix"]
    tokens = network.module.mix(network.module.embed(batch).permute(0, 2, 3, 1))
    torch.testing.assert_close(found, tokens.permute(0, 3, 1, 2))
    stated = load_network(mine, layout={"grid": (4, 6)})
    assert torch.equal(Backbone(stated, ["mix"])(batch)["mix"], found)
    with pytest.raises(UsageError, match="no grid after 1 others"):
        Backbone(load_network(mine, layout={"prefix_tokens": 1}), ["mix"])(batch)
    with pytest.raises(UsageError, match="say `prefix_tokens`"):
        Backbone(load_network(mine, layout={"kind": "tokens"}), ["mix"])(batch)


def test_the_layout_is_part_of_a_loss_file_and_of_its_hash(mine):
    def resolved(**keys):
        table = {"backbone": {"name": mine, "weights": "random", **keys},
                 "tap": [{"layer": "mix", "distance": "l2"}]}  # fmt: skip
        config = parse_loss(table, "loss")
        loss = build_loss(config, Networks())
        return resolve(config, loss)

    assert resolved(prefix_tokens=2)["backbone"]["prefix_tokens"] == 2
    assert resolved(prefix_tokens=2) != resolved(prefix_tokens=2, grid=[4, 6])
    assert "layout" not in resolved()["backbone"]
    with pytest.raises(UsageError, match=r"backbone\.layout"):
        parse_loss({"backbone": {"name": mine, "layout": "chw"}, "tap": []}, "loss")


def test_sizes_are_fixed_or_asked_for():
    needs("timm")
    network = network_of("timm:test_vit")
    assert (network.default.resize, network.size, network.patch) == ((160, 160), (160, 160), 16)
    assert Backbone(network, ["blocks.0"])(images(40, 60))["blocks.0"].shape[2:] == (10, 10)
    free = Input(**{**network.default.model_dump(), "resize": "none"})
    with pytest.raises(ValueError, match=r'positions = "interpolated" or resize = \[160, 160\]'):
        Backbone(network, ["blocks.0"], free)(images(48, 48))
    with pytest.raises(UsageError, match="small-cnn cannot interpolate its position embeddings"):
        Backbone(load_network("small-cnn"), ["image"], Input(positions="interpolated"))
    table = {"backbone": {"name": "timm:test_vit", "weights": "random"},
             "input": {"positions": "interpolated"},
             "tap": [{"layer": "blocks.3", "distance": "cosine"}]}  # fmt: skip
    config = parse_loss(table, "loss")
    loss = build_loss(config, Networks())
    shown = resolve(config, loss)["input"]
    assert (shown["resize"], shown["multiple"], shown["positions"]) == ("none", 16, "interpolated")
    assert "multiple" not in Input().model_dump() and "positions" not in Input().model_dump()
    assert loss(images(40, 60), images(40, 60)).tolist() == [0, 0]


@pytest.mark.parametrize("distance", ["cosine", "wsd", "swd", "jsd", "skld"])
def test_gradients_pass_through_hooks_as_through_the_network(distance):
    needs("timm")
    network = network_of("timm:test_vit")
    loss = FeatureLoss(Backbone(network, ["blocks.2"]), [Term("blocks.2", distance)])
    x, y = images(160, 160, batch=1).requires_grad_(), images(160, 160, batch=1).flip(3)
    loss(x, y).sum().backward()
    through = x.grad.clone()
    assert through.isfinite().all() and through.abs().max() > 0

    x.grad = None
    embed = []

    def run(batch):
        handle = network.module.blocks[2].register_forward_hook(lambda m, a, o: embed.append(o))
        network.module(ready(loss.backbone, batch))
        handle.remove()
        return embed[-1][:, 1:].transpose(1, 2).unflatten(2, (10, 10))

    how = loss.how[0]
    total = how.compare(how.embed(run(x)), how.embed(run(y)))
    (total.sum() * (how.head or 1)).backward()
    torch.testing.assert_close(x.grad, through, rtol=1e-4, atol=1e-8)
    checkpointed = FeatureLoss(loss.backbone, loss.terms, checkpointing=True)
    x.grad = None
    checkpointed(x, y).sum().backward()
    torch.testing.assert_close(x.grad, through)


class InPlace(nn.Module):
    """Writes over what a tap has given."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        found = self.first(x)
        if found.shape[0] > 10**6:
            return found
        found += 1
        again = self.second(self.second(found))
        return again.mean((2, 3))


def test_what_is_written_over_later_is_kept_and_calls_are_counted(monkeypatch):
    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(InPlace=InPlace))
    network = load_network("mine:InPlace")
    batch = images(8, 9)
    with torch.inference_mode():
        found = Backbone(network, ["first", "second", "second_1"])(batch)
    first = network.module.first(batch)
    torch.testing.assert_close(found["first"], first)
    second = network.module.second(first + 1)
    torch.testing.assert_close(found["second"], second)
    torch.testing.assert_close(found["second_1"], network.module.second(second))


def test_a_tap_that_a_residual_network_adds_to_in_place_is_kept():
    network = load_network("resnet18")
    backbone = Backbone(network, ["layer1.0.bn2", "layer1.0.relu_1"])
    taken = []
    bn2 = network.module.layer1[0].bn2
    bn2.register_forward_hook(lambda m, a, o: taken.append(o.clone()))
    with torch.no_grad():
        network.module(ready(backbone, images(32, 32)))
        assert torch.equal(backbone(images(32, 32))["layer1.0.bn2"], taken[0])


def test_a_tiny_vit_is_loaded_from_safetensors_and_refused_when_spoiled(tmp_path):
    timm = needs("timm")
    safetensors = needs("safetensors.torch")
    torch.manual_seed(3)
    trained = timm.create_model("test_vit", num_classes=7)
    path = tmp_path / "test_vit.safetensors"
    state = trained.state_dict()
    safetensors.save_file(state, path)
    assert find_weights("timm:test_vit", tmp_path) == path
    networks = Networks(tmp_path)
    table = {
        "backbone": {"name": "timm:test_vit"},
        "tap": [{"layer": "blocks.5", "distance": "l2"}],
    }
    loss = build_loss(parse_loss(table, "loss"), networks)
    assert list(networks.sha256) == [str(path)] and len(networks.sha256[str(path)]) == 64
    batch = images(160, 160)
    taken = []
    trained.eval().blocks[5].register_forward_hook(lambda m, a, o: taken.append(o))
    trained(ready(loss.backbone, batch))
    found = loss.backbone(batch)["blocks.5"]
    assert torch.equal(found.flatten(2).transpose(1, 2), taken[0][:, 1:])

    torch.save({"model": state}, tmp_path / "checkpoint.pth")
    other = load_network("timm:test_vit", tmp_path / "checkpoint.pth")
    assert torch.equal(Backbone(other, ["blocks.5"])(batch)["blocks.5"], found)

    spoiled = {
        "short": path.read_bytes()[:-1000],
        "page": b"<!DOCTYPE html><p>log in",
        "pickle": b"\x80\x02}q\x00.",
        "empty": b"",
    }
    for name, content in spoiled.items():
        (tmp_path / f"{name}.safetensors").write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}\.safetensors: cannot be read as network"):
            load_network("timm:test_vit", tmp_path / f"{name}.safetensors")
    key = "blocks.0.attn.qkv.weight"
    safetensors.save_file({**state, key: torch.full_like(state[key], torch.nan)}, path)
    with pytest.raises(DataError, match=f"{key}' holds numbers that are not finite"):
        load_network("timm:test_vit", path)
    safetensors.save_file({**state, key: torch.zeros(3)}, path)
    with pytest.raises(DataError, match="cannot be read as network weights"):
        load_network("timm:test_vit", path)
    safetensors.save_file({k: v for k, v in state.items() if k != key}, path)
    lacking = load_network("timm:test_vit", path)
    Backbone(lacking, ["pos_drop"])
    with pytest.raises(DataError, match=f"holds no '{key}'"):
        Backbone(lacking, ["blocks.0.attn.k"])


def test_a_network_of_transformers_is_read_from_its_folder(repository, tmp_path, monkeypatch):
    safetensors = needs("safetensors.torch")
    name, model = repository("Dinov2Config")
    weights = find_weights(name)
    assert weights.name == "model.safetensors"
    network = load_network(name, weights)
    batch = images(56, 70)
    taken = []
    model.eval().encoder.layer[1].register_forward_hook(lambda m, a, o: taken.append(o))
    backbone = Backbone(network, ["encoder.layer.1"], interpolated(network))
    model(ready(backbone, batch))
    output = taken[0] if isinstance(taken[0], torch.Tensor) else taken[0][0]
    found = backbone(batch)["encoder.layer.1"]
    assert torch.equal(found.flatten(2).transpose(1, 2), output[:, 1:])

    folder = tmp_path / "someone--tiny"
    folder.mkdir()
    for file in weights.parent.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    said = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.5]}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    path = find_weights("hf:someone/tiny", tmp_path)
    other = load_network("hf:someone/tiny", path, folder=tmp_path)
    assert other.default.mean == (0.1, 0.2, 0.3)
    assert torch.equal(Backbone(other, ["encoder.layer.1"], backbone.input)(batch)
                       ["encoder.layer.1"], found)  # fmt: skip
    state = safetensors.load_file(path)
    del state["layernorm.weight"]
    safetensors.save_file(state, path)
    lacking = load_network("hf:someone/tiny", path)
    Backbone(lacking, ["encoder.layer.1"])
    with pytest.raises(DataError, match=r"holds no 'layernorm\.weight'"):
        Backbone(lacking, ["embedding"])
    monkeypatch.setenv("PERCEPTBENCH_WEIGHTS", str(tmp_path / "someone--tiny"))
    with pytest.raises(Unavailable, match=r"needs its config\.json"):
        load_network("hf:nobody/nothing")


def test_open_clips_weights_may_be_whole_or_the_images_part(tiny_clip, tmp_path):
    open_clip, safetensors = needs("open_clip"), needs("safetensors.torch")
    torch.manual_seed(1)
    model = open_clip.create_model("tiny-vit", load_weights=False).eval().requires_grad_(False)
    safetensors.save_file(model.state_dict(), tmp_path / "tiny.safetensors")
    network = load_network(tiny_clip, tmp_path / "tiny.safetensors")
    backbone = Backbone(network, ["embedding"])
    batch = images(50, 40)
    expected = model.encode_image(ready(backbone, batch))
    assert torch.equal(backbone(batch)["embedding"][..., 0, 0], expected)
    assert network.default.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))


def test_caches_of_libraries_and_mirrors_are_read(tmp_path, monkeypatch, server):
    needs("timm")
    constants = needs("huggingface_hub.constants")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.delenv("PERCEPTBENCH_WEIGHTS", raising=False)
    monkeypatch.delenv("PERCEPTBENCH_MIRROR", raising=False)
    name, repository = "timm:vit_base_patch16_224.dino", "timm/vit_base_patch16_224.dino"
    with pytest.raises(Unavailable, match=f"hf download {repository}.*--weights-dir"):
        find_weights(name)

    at = tmp_path / "hf" / ("models--" + repository.replace("/", "--"))
    (at / "refs").mkdir(parents=True)
    (at / "refs" / "main").write_text("abc")
    (at / "snapshots" / "abc").mkdir(parents=True)
    (at / "snapshots" / "abc" / "model.safetensors").write_bytes(b"x")
    assert find_weights(name).parent.name == "abc"
    (at / "snapshots" / "abc" / "model.safetensors").unlink()

    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "vit_base_patch16_224.dino.pth").write_bytes(b"x")
    monkeypatch.setenv("PERCEPTBENCH_MIRROR", str(mirror))
    assert find_weights(name).parent == mirror
    monkeypatch.setenv("PERCEPTBENCH_MIRROR", server.url)
    weights_module._answers.cache_clear()
    with pytest.raises(Unavailable, match="could not be downloaded"):
        find_weights(name)
    server.files["vit_base_patch16_224.dino.safetensors"] = b"numbers"
    assert find_weights(name).read_bytes() == b"numbers"
    assert find_weights(name).parent == tmp_path / "hub" / "checkpoints"
    monkeypatch.setenv("PERCEPTBENCH_MIRROR", "http://elsewhere.invalid")
    with pytest.raises(Unavailable, match="in no weights folder"):
        find_weights("timm:vit_small_patch16_224.dino")


def test_a_library_or_a_network_that_is_not_there_is_named(monkeypatch):
    needs("timm")
    with pytest.raises(UsageError, match=r"did you mean .*test_vit"):
        load_network("timm:test_vitt")
    with pytest.raises(UsageError, match=r"no tag of timm's vit_base_patch16_224 'dinoo'.*dino"):
        load_network("timm:vit_base_patch16_224.dinoo")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(Unavailable, match=r"needs the package `timm`: pip install 'percept"):
        load_network("timm:test_vit")
    with pytest.raises(Unavailable, match="needs the package `timm`"):
        find_weights("timm:test_vit")


def test_an_unknown_tag_of_open_clip_is_named():
    needs("open_clip")
    with pytest.raises(UsageError, match="there is no pretrained tag 'laion'"):
        libraries.repository("open_clip:ViT-B-32:laion")
    with pytest.raises(UsageError, match="did you mean ViT-B-32"):
        load_network("open_clip:ViT-B-33:openai")


def test_sides_go_to_the_nearest_multiple():
    batch = images(28, 42)
    assert Input(multiple=14).fit(batch) is batch
    assert Input(multiple=14).fit(images(30, 50)).shape[2:] == (28, 56)
    assert Input(multiple=14).fit(images(3, 5)).shape[2:] == (14, 14)
    resized = F.interpolate(images(30, 50), (28, 56), mode="bilinear", antialias=True)
    torch.testing.assert_close(Input(multiple=14).fit(images(30, 50)), resized.clamp(0, 1))


def test_the_page_on_losses_shows_a_loss_that_works(tmp_path):
    needs("timm")
    page = Path(libraries.__file__).with_name("README.md").read_text(encoding="utf-8")
    toml, python = (re.search(rf"```{k}\n(.*?)```", page, re.S)[1] for k in ("toml", "python"))
    assert len(toml.splitlines()) <= 6 and len(python.split("\n")) - python.count("\n\n") <= 5
    text = toml.replace('"\n[input]', '"\nweights = "random"\n[input]')
    (tmp_path / "dinov2.toml").write_text(text)
    model = nn.Conv2d(3, 3, 1)
    data = [((0.5 + images(30, 45, batch=1) / 2), images(30, 45, batch=1))]
    call = python.replace('"dinov2.toml"', f"{str(tmp_path / 'dinov2.toml')!r}")
    call = call.replace('weights_dir="weights", ', "").replace(
        "model(batch)", "model(batch).sigmoid()"
    )
    exec(call, {"model": model, "data": data})
    assert model.weight.grad.isfinite().all() and model.weight.grad.abs().max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dinov1", "dinov2", "dinov3", "clip", "convnext"])
def test_the_taps_of_presets_are_there_and_weights_that_are_not_are_named(
    name, tmp_path, monkeypatch
):
    needs("timm")
    needs("open_clip")
    constants = needs("huggingface_hub.constants")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    folder = resources.files("perceptbench.losses.presets")
    presets = sorted(p.name[:-5] for p in folder.iterdir() if p.name.startswith(f"{name}-"))
    networks = {}
    for preset in presets:
        config, _ = read_loss(preset)
        with pytest.raises(Unavailable, match="hf download"):
            build_loss(config, Networks(tmp_path))
        backbone = config.backbone.name
        if backbone not in networks:
            networks[backbone] = load_network(backbone)
        assert {row.layer for row in config.tap} <= set(networks[backbone].nodes)
