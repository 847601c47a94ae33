"""Procedural photographs: dead leaves, each with a 1/f texture, so that nothing is downloaded.

Discs that hide one another, of radii with density r^-3, have the edges, the occlusions and the
scale invariance of photographs (Lee, Mumford, Huang, IJCV 2001, doi:10.1023/A:1011109015675);
noise whose amplitude falls as 1/f gives each disc a surface.
"""

import numpy as np

from perceptbench.distortions import natural_image

#: Radii of the discs, in sides of the image, and how often it is drawn larger than it is.
RADII, OVERSAMPLED = (1 / 24, 1 / 2.5), 2
#: Leaves drawn at most; what is still bare then takes the last one's colour.
MOST = 2000


def dead_leaves(size: int, rng: np.random.Generator) -> np.ndarray:
    """One image, uint8 (size, size, 3), sRGB-coded.

    >>> image = dead_leaves(32, np.random.default_rng(0))
    >>> image.shape, image.dtype.name
    ((32, 32, 3), 'uint8')
    """
    side = OVERSAMPLED * size
    textures = [natural_image(side, rng).astype(float) - 120 for _ in range(4)]
    rows, columns = np.mgrid[:side, :side]
    canvas = np.zeros((side, side, 3))
    bare = np.ones((side, side), bool)
    low, high = (side * radius for radius in RADII)
    for number in range(MOST):
        # Front to back, so that a leaf is never drawn over; the inverse of r^-3's distribution.
        radius = (low**-2 - rng.random() * (low**-2 - high**-2)) ** -0.5
        y, x = rng.uniform(-radius, side + radius, 2)
        shown = bare & ((rows - y) ** 2 + (columns - x) ** 2 < radius**2)
        colour, contrast = rng.uniform(30, 225) + rng.normal(0, 28, 3), rng.uniform(0.15, 0.7)
        which, (down, right) = rng.integers(4), rng.integers(side, size=2)
        if number == MOST - 1:
            shown = bare.copy()
        at = ((rows[shown] + down) % side, (columns[shown] + right) % side)
        canvas[shown] = colour + contrast * textures[which][at]
        bare &= ~shown
        if not bare.any():
            break
    small = canvas.reshape(size, OVERSAMPLED, size, OVERSAMPLED, 3).mean((1, 3))
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)
