"""Where the real data lies, and small inputs every test may use."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

# The same examples in every run.
settings.register_profile("deterministic", derandomize=True)
settings.load_profile("deterministic")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"real data not found: {SHARED} does not exist")
    return SHARED


@pytest.fixture(scope="session")
def weights(shared: Path) -> Path:
    """Folder with real AlexNet and SqueezeNet weights."""
    return shared / "weights"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three noisy 8-bit PNGs of 48 x 40 pixels: ref.png, a.png (near), b.png (far)."""
    rng = np.random.default_rng(0)
    base = rng.uniform(60, 190, (40, 48, 3))
    for name, noise in {"ref": 0, "a": 5, "b": 40}.items():
        pixels = np.clip(base + noise * rng.standard_normal(base.shape), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path
