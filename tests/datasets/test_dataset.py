"""The fingerprint of a dataset."""

import numpy as np
import pandas as pd
from PIL import Image

from perceptbench.datasets.dataset import Dataset
from perceptbench.datasets.images import FileLoader
from perceptbench.datasets.judgements.protocols import Judgements


def save(path, array, **options):
    Image.fromarray(np.asarray(array)).save(path, **options)
    return path


def test_the_fingerprint_follows_judgements_and_image_bytes(images):
    def fingerprint(p_b):
        table = pd.DataFrame({"reference": ["ref.png"], "a": ["a.png"], "b": ["b.png"], "p_b": p_b})
        return Dataset("d", (Judgements("d", table),), FileLoader(images), images).fingerprint()

    first = fingerprint([0.5])
    assert first == fingerprint([0.5]) != fingerprint([0.6])
    save(images / "b.png", np.zeros((40, 48, 3), np.uint8))
    assert fingerprint([0.5]) != first
