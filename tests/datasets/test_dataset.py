"""Images: from files to tensors; the fingerprint of a dataset."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.images import FileLoader, read_image
from perceptbench.datasets.judgements import Judgements
from perceptbench.errors import DataError


def save(path, array, **options):
    Image.fromarray(np.asarray(array)).save(path, **options)
    return path


def test_grey_and_colour_files_are_the_same_picture(tmp_path):
    grey = np.array([[0, 51], [102, 255]], dtype=np.uint8)
    expected = torch.tensor([[0.0, 0.2], [0.4, 1.0]]).expand(3, 2, 2)
    deep = save(tmp_path / "deep.png", grey.astype(np.uint16) * 257)
    colour = save(tmp_path / "colour.png", np.stack([grey] * 3, 2))
    for path in (save(tmp_path / "grey.png", grey), colour, deep):
        torch.testing.assert_close(read_image(path), expected)
    assert read_image(colour).dtype == torch.float32


def test_an_opaque_alpha_channel_is_dropped_and_a_transparent_one_refused(tmp_path):
    pixels = np.full((2, 2, 4), 255, dtype=np.uint8)
    torch.testing.assert_close(read_image(save(tmp_path / "o.png", pixels)), torch.ones(3, 2, 2))
    pixels[0, 0, 3] = 254
    with pytest.raises(DataError, match="transparent pixels"):
        read_image(save(tmp_path / "t.png", pixels))


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    whole = save(tmp_path / "whole.png", np.zeros((64, 64, 3), np.uint8)).read_bytes()
    (tmp_path / "torn.png").write_bytes(whole[:60])
    for name in ("text.png", "torn.png"):
        with pytest.raises(DataError, match=f"{name}: cannot be read as an image"):
            FileLoader(tmp_path)(name)
    with pytest.raises(DataError, match="there is no such image"):
        FileLoader(tmp_path)("none.png")


def test_the_fingerprint_follows_judgements_and_image_bytes(images):
    def fingerprint(p_b):
        table = pd.DataFrame({"reference": ["ref.png"], "a": ["a.png"], "b": ["b.png"], "p_b": p_b})
        return Dataset("d", (Judgements("d", table),), FileLoader(images), images).fingerprint()

    first = fingerprint([0.5])
    assert first == fingerprint([0.5]) != fingerprint([0.6])
    save(images / "b.png", np.zeros((40, 48, 3), np.uint8))
    assert fingerprint([0.5]) != first
