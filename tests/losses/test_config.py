"""Loss files: what is accepted, what the errors say, and what the hash follows."""

import tomllib
from importlib import resources

import pytest
import torch

from perceptbench.errors import DataError, UsageError
from perceptbench.losses import Backbone, FeatureLoss, Term, load_loss, load_network
from perceptbench.losses.config import (
    BackboneTable,
    LossConfig,
    Networks,
    build_loss,
    fingerprint,
    parse_loss,
    read_loss,
    resolve,
)

NETWORK = {"name": "small-cnn", "weights": "random"}
ROW = {"layer": "relu1", "distance": "l2"}
GOOD = {"backbone": NETWORK, "tap": [ROW]}


def test_every_preset_is_valid():
    for path in resources.files("perceptbench.losses.presets").iterdir():
        if path.name.endswith(".toml"):
            table = tomllib.loads(path.read_text())
            keys = LossConfig.model_fields
            assert parse_loss({k: v for k, v in table.items() if k in keys}, path.name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tap": [{**ROW, "distance": "l3"}]}, "unknown distance 'l3'; one of l1, l2"),
        ({"tap": []}, r"needs a table \[backbone\] and rows \[\[tap\]\]"),
        ({"tap": [{**ROW, "weight": -1}]}, r"key `tap.0.weight`: .* greater than or equal to 0"),
        ({"tap": [{**ROW, "wait": 1}]}, "key `tap.0.wait`: extra inputs"),
        ({"tap": [{"distance": "l2"}]}, "key `tap.0.layer`: field required"),
        ({"tap": [{**ROW, "p": 3}]}, "'l2' takes no power `p`"),
        ({"tap": [{**ROW, "distance": "lp"}]}, "'lp' needs a power `p`"),
        ({"tap": [{**ROW, "distance": "lp", "p": 0.5}]}, "at least 1, not 0.5"),
        ({"tap": [{**ROW, "reduction": "max"}]}, "unknown reduction 'max'"),
        ({"tap": [{**ROW, "distance": "gram", "reduction": "sum"}]}, "takes no `reduction`"),
        ({"tap": [{**ROW, "head": [1.0]}]}, "'l2' takes no per-channel head"),
        ({"tap": [{**ROW, "epsilon": 1e-3}]}, "'l2' takes no `epsilon`"),
        ({"tap": [{**ROW, "distance": "cosine_flat", "epsilon": 1e-3}]}, "takes no `epsilon`"),
        ({"tap": [{**ROW, "distance": "cosine", "epsilon": 0}]}, "key `tap.0.epsilon`"),
        ({"tap": [{**ROW, "distance": "unit_normalised"}]}, "needs a per-channel head"),
        ({"tapz": {}}, "key `tapz`"),
        ({"backbone": {**NETWORK, "name": "alexnett"}}, "did you mean alexnet"),
        ({"backbone": {**NETWORK, "pooling": "min"}}, "key `backbone.pooling`"),
        ({"backbone": {**NETWORK, "seed": "x"}}, "key `backbone.seed`"),
        ({"input": {"mean": [0, 0]}}, "key `input.mean.2`"),
        ({"input": {"std": [0, 1, 1]}}, "key `input.std.0`"),
        ({"input": {"size": 3}}, "key `input.size`"),
        ({"term": [{"pixel": "l1"}]}, r"has rows \[\[term\]\] beside a network"),
    ],
)
def test_a_wrong_key_is_named_with_its_file(change, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse_loss({**GOOD, **change}, "mine.toml")
    assert str(caught.value).startswith("mine.toml: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ({}, "needs one of `loss`, `pixel` and `matching`"),
        ({"pixel": "l1", "loss": "lpips-alex"}, "needs one of `loss`, `pixel` and `matching`"),
        ({"matching": "pair"}, "`matching` needs `layers` and `backbone`"),
        ({"pixel": "l7"}, "unknown pixel loss 'l7'"),
    ],
)
def test_a_wrong_term_is_named(term, message):
    with pytest.raises(UsageError, match=message):
        parse_loss({"term": [term]}, "mine.toml")


def build(table, base="."):
    config = parse_loss(table, "mine.toml")
    return build_loss(config, Networks(), __import__("pathlib").Path(base))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({**GOOD, "tap": [{**ROW, "layer": "relu9"}]}, "no tap 'relu9'; did you mean relu"),
        (
            {**GOOD, "tap": [{**ROW, "distance": "unit_normalised", "head": [1.0, 2.0]}]},
            "the head has 2 weights, 16 are needed there",
        ),
        (
            {**GOOD, "tap": [{**ROW, "distance": "unit_normalised", "head": "lpips:alex:7"}]},
            "its number runs from 0 to 4",
        ),
        ({**GOOD, "backbone": {"name": "small-cnn"}}, "has no ImageNet weights"),
    ],
)
def test_what_does_not_fit_the_network_is_named(table, message):
    with pytest.raises(UsageError, match=message):
        build(table)


def test_paths_are_relative_to_the_file(tmp_path):
    network = load_network("small-cnn", seed=4)
    torch.save(network.module.state_dict(), tmp_path / "own.pth")
    torch.save({"h": torch.arange(16.0)}, tmp_path / "heads.pth")
    (tmp_path / "mine.toml").write_text(
        '[backbone]\nname = "small-cnn"\nweights = "own.pth"\n'
        '[[tap]]\nlayer = "relu1"\ndistance = "unit_normalised"\nhead = "heads.pth:h"\n'
    )
    (tmp_path / "sum.toml").write_text(
        '[[term]]\nweight = 0.5\nloss = "mine.toml"\n[[term]]\npixel = "l1"\n'
    )
    x, y = torch.rand(2, 2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    head = Term("relu1", "unit_normalised", 1.0, torch.arange(16.0))
    expected = FeatureLoss(Backbone(network, ["relu1"]), [head])(x, y)
    torch.testing.assert_close(load_loss(str(tmp_path / "mine.toml"))(x, y), expected)
    both = load_loss(str(tmp_path / "sum.toml"))(x, y)
    torch.testing.assert_close(both, 0.5 * expected + (x - y).abs().mean((1, 2, 3)))
    with pytest.raises(DataError, match=r"there is no such weights file"):
        load_loss_text(tmp_path, '[backbone]\nname = "small-cnn"\nweights = "no.pth"\n'
                       '[[tap]]\nlayer = "relu1"\ndistance = "l2"\n')  # fmt: skip


def load_loss_text(folder, text):
    (folder / "x.toml").write_text(text)
    return load_loss(str(folder / "x.toml"))


def test_a_loss_file_gives_the_loss_it_declares(tmp_path):
    loss = load_loss_text(
        tmp_path,
        'title = "for people"\n[backbone]\nname = "squeezenet1_1"\nweights = "random"\nseed = 7\n'
        '[[tap]]\nlayer = "features.1"\ndistance = "l2"\nweight = 2.0\n',
    )
    x, y = torch.rand(2, 1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    module = load_network("squeezenet1_1", seed=7).module.features[:2]
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    expected = 2 * (module((x - mean) / std) - module((y - mean) / std)).square().mean()
    torch.testing.assert_close(loss(x, y).squeeze(), expected)


def hash_of(table, networks=None):
    config = parse_loss(table, "mine.toml")
    return fingerprint(resolve(config, build_loss(config, networks or Networks())))


def test_the_hash_changes_exactly_when_the_numbers_would():
    two = [ROW, {"layer": "relu2", "distance": "l1", "weight": 0.5}]
    base = hash_of({**GOOD, "tap": two})
    same = [
        {**GOOD, "tap": two[::-1]},
        {**GOOD, "tap": [*two, {"layer": "relu3", "distance": "l2", "weight": 0.0}]},
        {**GOOD, "tap": two, "input": {"mean": [0, 0, 0], "resize": "none"}},
        {**GOOD, "tap": [{**ROW, "reduction": "mean"}, two[1]]},
        {**GOOD, "tap": [{**ROW, "distance": "lp", "p": 2}, two[1]]},
        {**GOOD, "tap": two, "input": {"kernel": "bicubic"}},
        {"backbone": {**NETWORK, "frozen": False}, "tap": two, "detach_target": True},
    ]
    other = [
        {**GOOD, "tap": [{**ROW, "weight": 2.0}, two[1]]},
        {**GOOD, "tap": [{**ROW, "layer": "conv1"}, two[1]]},
        {**GOOD, "tap": [{**ROW, "distance": "gram"}, two[1]]},
        {**GOOD, "tap": [{**ROW, "reduction": "sum"}, two[1]]},
        {"backbone": {**NETWORK, "seed": 1}, "tap": two},
        {**GOOD, "tap": two, "input": {"resize": 32}},
    ]
    assert [hash_of(table) == base for table in same] == [True] * len(same)
    assert len({base, *(hash_of(table) for table in other)}) == len(other) + 1


@pytest.mark.usefixtures("undrawn")  # VGG draws its convolutions otherwise
def test_names_of_the_literature_and_nodes_are_one_tap():
    vgg = {"name": "vgg11", "weights": "random"}
    rows = [{"layer": name, "distance": "l2"} for name in ("relu2_1", "features.4")]
    networks = Networks()  # VGG11 is built once
    assert len({hash_of({"backbone": vgg, "tap": [row]}, networks) for row in rows}) == 1


def test_a_head_changes_the_hash_by_its_values():
    def of(head):
        return hash_of({**GOOD, "tap": [{**ROW, "distance": "unit_normalised", "head": head}]})

    assert of([1.0] * 16) == of([1.0]) != of([1.0] * 15 + [2.0])


def test_epsilon_changes_the_hash_unless_it_is_the_usual_one():
    def of(**keys):
        return hash_of({**GOOD, "tap": [{**ROW, "distance": "cosine", **keys}]})

    assert of() == of(epsilon=1e-10) != of(epsilon=1e-3)


def test_losses_over_one_network_share_it(weights):
    networks = Networks(weights)
    config, _ = read_loss("lpips-alex")
    assert networks.get(config.backbone) is networks.get(config.backbone)
    assert len(networks.sha256) == 1


def test_errors_of_building_name_the_file_and_a_loss_cannot_name_itself(tmp_path):
    text = '[backbone]\nname = "small-cnn"\nweights = "random"\n'
    with pytest.raises(UsageError, match=r"x\.toml: backbone small-cnn has no tap 'relu9'"):
        load_loss_text(tmp_path, text + '[[tap]]\nlayer = "relu9"\ndistance = "l2"\n')
    with pytest.raises(UsageError, match=r"x\.toml: is a composite loss and no term of another"):
        load_loss_text(tmp_path, '[[term]]\nloss = "x.toml"\n')


PYRAMID = {"name": "steerable-pyramid"}
OCTAVE = {"layer": "octave1", "distance": "l2"}


def pyramid_hash(**keys):
    return hash_of({"backbone": {**PYRAMID, **keys}, "tap": [OCTAVE]})


def test_a_formulas_options_change_the_hash_and_what_it_has_not_is_refused():
    plain = pyramid_hash()
    assert plain == pyramid_hash(octaves=5, orientations=4, colour="ycbcr", response="magnitude")
    others = [{"octaves": 4}, {"orientations": 6}, {"colour": "rgb"}, {"response": "real"}]
    assert len({plain, *(pyramid_hash(**keys) for keys in others)}) == 5
    for key, value in {"weights": "random", "seed": 1, "pooling": "average"}.items():
        with pytest.raises(UsageError, match=f"steerable-pyramid takes no `{key}`: its keys are"):
            pyramid_hash(**{key: value})
    with pytest.raises(UsageError, match="small-cnn takes no `octaves`: a key of steerable-py"):
        parse_loss({**GOOD, "backbone": {**NETWORK, "octaves": 3}}, "mine.toml")
    with pytest.raises(UsageError, match="colour is one of ycbcr, rgb, grey, not 'lab'"):
        pyramid_hash(colour="lab")
    with pytest.raises(UsageError, match=r"no tap 'octave6'; did you mean octave"):
        hash_of({"backbone": PYRAMID, "tap": [{**OCTAVE, "layer": "octave6"}]})


def test_equal_pyramids_are_one_network():
    networks = Networks()
    first, same, other = (
        networks.get(BackboneTable(**PYRAMID, **keys))
        for keys in ({}, {"octaves": 5}, {"octaves": 4})
    )
    assert first is same is not other and not networks.sha256
