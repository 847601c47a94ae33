"""The complex steerable pyramid: a fixed, published model of early vision as a backbone.

Simoncelli, Freeman, ICIP 1995, doi:10.1109/ICIP.1995.537667; its windows in the frequency domain
as in Portilla, Simoncelli, IJCV 2000, doi:10.1023/A:1026553619983.

Conventions
-----------
Frequencies are in units of the Nyquist frequency: 1 is half a cycle a pixel. Octave k, counted
from 1 (the finest), is centred at 2^(1 - k) and falls to nothing an octave to either side. Octaves
2, 3, ... are the literature's oriented bands 0, 1, ...; octave 1, which reaches to the corners of
the spectrum, is its high-pass residual, here split into orientations like the others. Orientation
j of K is centred at the angle pi j / K of the frequency, from the horizontal downwards: j = 0
answers to vertical bars.

The frame is tight: the mean squares of all bands and of what lies below the coarsest octave sum to
the mean square of the (padded) image.
"""

import inspect
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from perceptbench.colour import luma, ycbcr
from perceptbench.errors import UsageError
from perceptbench.tensors import kept, traced, transformed

COLOURS: dict[str, Callable[[Tensor], Tensor]] = {
    "ycbcr": ycbcr,
    "rgb": lambda images: images,
    "grey": luma,
}
RESPONSES = ("magnitude", "real", "complex")
MOST_OCTAVES, MOST_ORIENTATIONS = 8, 16
#: Frequency, along a row or column, from which on octave 1 loses its orientations.
FADE = 0.75
#: Bytes of the bands of one octave on a CPU, which takes as many images at a time; more fall out
#: of its cache and take twice as long. A GPU takes everything at once.
PIECE_BYTES = 1 << 24


class SteerablePyramid(nn.Module):
    """Oriented band-pass responses of images, by octave.

    Images are padded by reflection, so that opposite borders do not leak into each other, and may
    be of any size. What is below the coarsest octave, the mean colour among it, is not seen.

    Parameters
    ----------
    octaves : how many, 1 to 8.
    orientations : how many, 2 to 16.
    colour : ``ycbcr`` (Rec. 601), ``rgb``, or ``grey``, luma alone.
    response : ``magnitude`` of the complex response, which does not change with its phase; its
        ``real`` part; or ``complex``, both parts as channels. Magnitudes of octave k come at the
        resolution of the image over 2^(k-1). Signed responses would alias there and come, but
        for octave 1, at twice that, as in the literature.

    Raises
    ------
    UsageError : a parameter outside of these.

    Examples
    --------
    >>> pyramid = SteerablePyramid(octaves=3)
    >>> {tap: tuple(a.shape) for tap, a in pyramid(torch.rand(1, 3, 40, 50)).items()}
    {'octave1': (1, 12, 40, 50), 'octave2': (1, 12, 20, 25), 'octave3': (1, 12, 10, 13)}
    """

    def __init__(
        self,
        octaves: int = 5,
        orientations: int = 4,
        colour: str = "ycbcr",
        response: str = "magnitude",
    ) -> None:
        super().__init__()
        _check("octaves", octaves, range(1, MOST_OCTAVES + 1))
        _check("orientations", orientations, range(2, MOST_ORIENTATIONS + 1))
        _check("colour", colour, COLOURS)
        _check("response", response, RESPONSES)
        self.octaves, self.orientations = octaves, orientations
        self.colour, self.response = colour, response
        #: Names of what `forward` gives, finest first.
        self.taps = tuple(f"octave{octave}" for octave in range(1, octaves + 1))

    def extra_repr(self) -> str:
        """Its parameters: what tells one from another."""
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in OPTIONS)

    def forward(self, images: Tensor, taps: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Responses by tap, (N, colours x orientations [x 2], H', W'), for images (N, 3, H, W).

        Parameters
        ----------
        images : RGB, as they are coded.
        taps : which octaves; default all.
        """
        wanted = [self.taps.index(tap) + 1 for tap in taps or self.taps]
        # At least float32: there are no transforms of less on a CPU.
        images = images.float() if images.itemsize < 4 else images
        with torch.autocast(images.device.type, enabled=False):
            planes = COLOURS[self.colour](images)
            parts = [self._analyse(p, wanted) for p in self._pieces(planes)]
        return {
            f"octave{octave}": maps[0] if len(maps) == 1 else torch.cat(maps)
            for octave, maps in zip(wanted, zip(*parts, strict=True), strict=True)
        }

    def _pieces(self, planes: Tensor) -> Sequence[Tensor]:
        """As many images as are taken at a time."""
        if planes.device.type != "cpu" or traced(planes):
            return [planes]
        height, width = (padded_size(side, self.octaves) for side in planes.shape[2:])
        bands = planes.shape[1] * self.orientations * height * width
        return planes.split(max(1, PIECE_BYTES // (bands * 2 * planes.itemsize)))

    def _analyse(self, planes: Tensor, wanted: Sequence[int]) -> list[Tensor]:
        """Responses at the wanted octaves of planes (N, C, H, W)."""
        # The place for the orientations is made here: ONNX can make none in a spectrum.
        spectrum = torch.fft.fft2(padded(planes, self.octaves)[:, :, None], norm="forward")
        found = {}
        for octave in range(1, max(wanted) + 1):
            if octave > 2:
                spectrum = lower_half(spectrum)
            if octave in wanted:
                found[octave] = self._octave(spectrum, octave, planes.shape[-2:])
        return [found[octave] for octave in wanted]

    def _octave(self, spectrum: Tensor, octave: int, size: torch.Size) -> Tensor:
        """One octave, of a spectrum (N, C, 1, h, w) that ends where the octave does."""
        sides = map(int, spectrum.shape[-2:])
        form = windows(spectrum.real, *sides, self.orientations, octave == 1)
        bands = spectrum * form
        step = 2 ** max(0, octave - 2)
        if self.response == "magnitude" and octave > 1:
            # The magnitude at every second place is that of the response at every second place.
            bands, step = every_second(bands), 2 * step
        margin = 2**self.octaves // step
        height, width = (-(-side // step) for side in size)
        response = torch.fft.ifft2(bands, norm="forward")
        response = response[..., margin : margin + height, margin : margin + width]
        if self.response == "magnitude":
            maps = response.abs()
        else:
            # As derivatives of a Gaussian have it: odd for an even number of orientations.
            response = response * (-1j) ** (self.orientations - 1)
            maps = math.sqrt(2) * response.real
            if self.response == "complex":
                maps = torch.stack([response.real, response.imag], dim=3)
        maps = maps.flatten(1, -3)
        if maps.device.type == "cpu" and not transformed():  # a vmap knows no layouts
            # Distances at a place then find its channels side by side.
            maps = maps.contiguous(memory_format=torch.channels_last)
        return maps


#: The keyword arguments of the pyramid and their defaults.
OPTIONS = {p.name: p.default for p in inspect.signature(SteerablePyramid).parameters.values()}


def radial_window(frequency: Tensor, octave: int) -> Tensor:
    """Amplitude of an octave at a radial frequency: a cosine over the logarithm, 1 to 0.

    The squares of all octaves sum to 1 from the centre of the coarsest upwards.
    """
    away = torch.log2(frequency) + (octave - 1)
    if octave == 1:
        away = away.clamp_max(0)
    return torch.where(away.abs() < 1, torch.cos(math.pi / 2 * away.clamp(-1, 1)), 0.0)


def orientation_window(u: Tensor, v: Tensor, orientation: int, orientations: int) -> Tensor:
    """Amplitude of an orientation in direction (u, v), of length 1: cos^(K-1) of the angle between
    them over one half of the plane, 0 elsewhere.

    The squares of all orientations, in a direction and in the opposite one together, sum to 1: a
    real image has the same energy at both.
    """
    order = orientations - 1
    centre = math.pi * orientation / orientations
    cosine = u * math.cos(centre) + v * math.sin(centre)
    # Sum over K orientations of cos^(2 order).
    total = orientations * math.comb(2 * order, order) / 4**order
    return cosine.clamp_min(0) ** order / math.sqrt(total)


@kept
def windows(
    height: int,
    width: int,
    orientations: int,
    finest: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """What a spectrum is multiplied with, (orientations, height, width), by frequency as in fft2.

    Parameters
    ----------
    height, width : of the spectrum, which ends where the octave does.
    finest : whether it is octave 1; on their own spectra the others are all alike.

    The amplitude is sqrt(2) times the windows': half the plane holds the whole energy.
    """
    # Without fftfreq, hypot and atan2, which ONNX or its runtime does not have.
    like: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
    v, u = (torch.roll(torch.arange(-(n // 2), n // 2, **like), n // 2) * (2 / n)
            for n in (height, width))  # fmt: skip
    v = v[:, None].expand(height, width)
    frequency = (u * u + v * v).sqrt()
    radial = radial_window(frequency, 1 if finest else 2).square()
    length = frequency.clamp_min(1e-30)  # which float32 holds, too: ONNX makes that of numbers
    squares = torch.stack([
        orientation_window(u / length, v / length, j, orientations).square()
        for j in range(orientations)
    ])  # fmt: skip
    if finest:
        # At the Nyquist frequency the samples show no orientation: u is -u. A window cut off
        # in half there would ring all over the image, so all take the same share of it.
        place = (torch.maximum(u.abs(), v.abs()) - FADE) / (1 - FADE)
        faded = torch.sin(math.pi / 2 * place.clamp_min(0)).square()
        squares = squares + faded * (1 / (2 * orientations) - squares)
    return (2 * radial * squares).sqrt().to(device, dtype)


def padded(planes: Tensor, octaves: int) -> Tensor:
    """Planes (N, C, H, W) without their mean, reflected by 2^octaves pixels or more a side.

    The bands do not see the mean; without it, what rounding leaves of it does not stand in them.
    """
    planes = planes - planes.detach().mean((2, 3), keepdim=True)
    for dim in (2, 3):
        places = _reflected(planes, int(planes.shape[dim]), octaves)
        planes = planes.index_select(dim, places)
    return planes


@kept
def _reflected(size: int, octaves: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Which of `size` places stands at each place of the padded side, again and again if small."""
    places = torch.arange(padded_size(size, octaves), device=device) - 2**octaves
    places = places % max(1, 2 * (size - 1))
    return torch.minimum(places, 2 * (size - 1) - places).clamp_min(0)


def padded_size(size: int, octaves: int) -> int:
    """The padded side: one that halves for every octave and that transforms are fast for."""
    unit = 2 ** max(1, octaves - 1)
    # An int also where torch.jit.trace has tensors for sizes, which `//=` would change in place.
    count = -(-(int(size) + 2 ** (octaves + 1)) // unit)
    while not _has_small_factors(count):
        count += 1
    return unit * count


def _has_small_factors(number: int) -> bool:
    for factor in (2, 3, 5, 7):
        while number % factor == 0:
            number //= factor
    return number == 1


def lower_half(spectrum: Tensor) -> Tensor:
    """The lower half of the frequencies of each side: (..., h, w) -> (..., h / 2, w / 2)."""
    for dim in (-2, -1):
        quarter = spectrum.shape[dim] // 4
        ends = spectrum.narrow(dim, 0, quarter), spectrum.narrow(dim, -quarter, quarter)
        spectrum = torch.cat(ends, dim)
    return spectrum


def every_second(spectrum: Tensor) -> Tensor:
    """The spectrum of every second row and column: (..., h, w) -> (..., h / 2, w / 2)."""
    for dim in (-2, -1):
        half = spectrum.shape[dim] // 2
        spectrum = spectrum.narrow(dim, 0, half) + spectrum.narrow(dim, half, half)
    return spectrum


def _check(name: str, value: object, allowed: Collection[object]) -> None:
    if value not in allowed:
        choice = ", ".join(str(one) for one in allowed)
        raise UsageError(f"steerable pyramid: {name} is one of {choice}, not {value!r}")
