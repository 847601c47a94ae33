"""Colour spaces and colour differences, differentiable.

Conventions
-----------
Tensors (..., 3, H, W), channels at dimension -3. sRGB-coded and linear values are in [0, 1], XYZ
is relative to a white of Y = 1, CIELAB is L* in [0, 100] with a*, b* around 0.
"""

import math

import torch
from torch import Tensor

from perceptbench.tensors import constant

# IEC 61966-2-1: linear sRGB -> XYZ for D65 and the 2 degree observer.
_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
# ITU-R BT.601: luma of R', G', B'.
_LUMA = (0.299, 0.587, 0.114)


def luma(coded: Tensor) -> Tensor:
    """sRGB-coded values -> luma Y' (Rec. 601), (..., 1, H, W); of a grey image its value."""
    return _mix(constant((_LUMA,), coded), coded)


def ycbcr(coded: Tensor) -> Tensor:
    """sRGB-coded values -> Y' in [0, 1], Cb and Cr in [-0.5, 0.5] (Rec. 601, full range)."""
    y = luma(coded)
    red, _, blue = coded.split(1, dim=-3)
    return torch.cat([y, (blue - y) / 1.772, (red - y) / 1.402], dim=-3)


def srgb_decode(coded: Tensor) -> Tensor:
    """sRGB-coded values in [0, 1] -> linear light in [0, 1] (IEC 61966-2-1)."""
    # Clamped where the branch is not taken, else its gradient would be no number.
    curve = ((coded.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(coded <= 0.04045, coded / 12.92, curve)


def srgb_encode(linear: Tensor) -> Tensor:
    """Linear light in [0, 1] -> sRGB-coded values in [0, 1] (IEC 61966-2-1)."""
    curve = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, linear * 12.92, curve)


def linear_to_xyz(linear: Tensor) -> Tensor:
    """Linear sRGB -> XYZ, the white (1, 1, 1) having Y = 1."""
    return _mix(_matrix(linear), linear)


def xyz_to_linear(xyz: Tensor) -> Tensor:
    """XYZ -> linear sRGB; outside [0, 1] where the colour is out of gamut."""
    return _mix(torch.linalg.inv(_matrix(xyz).double()).to(xyz.dtype), xyz)


def srgb_to_lab(coded: Tensor) -> Tensor:
    """sRGB-coded values in [0, 1] -> CIELAB relative to the display's own white, D65."""
    white = linear_to_xyz(coded.new_ones(3, 1, 1))
    return xyz_to_lab(linear_to_xyz(srgb_decode(coded)), white)


def luminance(linear: Tensor) -> Tensor:
    """Linear sRGB -> relative luminance Y, (..., 1, H, W)."""
    return _mix(_matrix(linear)[1:2], linear)


def xyz_to_lab(xyz: Tensor, white: Tensor) -> Tensor:
    """XYZ -> CIELAB relative to `white` (XYZ, broadcastable) (CIE 15:2004)."""
    t = xyz / white
    cube = t.clamp_min((6 / 29) ** 3) ** (1 / 3)
    f = torch.where(t > (6 / 29) ** 3, cube, t * (29 / 6) ** 2 / 3 + 4 / 29)
    fx, fy, fz = f.unbind(-3)
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], dim=-3)


def lab_to_xyz(lab: Tensor, white: Tensor) -> Tensor:
    """CIELAB -> XYZ relative to `white` (XYZ, broadcastable); inverse of `xyz_to_lab`."""
    lightness, a, b = lab.unbind(-3)
    fy = (lightness + 16) / 116
    f = torch.stack([fy + a / 500, fy, fy - b / 200], dim=-3)
    return white * torch.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))


def ciede2000(lab1: Tensor, lab2: Tensor) -> Tensor:
    """CIEDE2000 colour difference of two CIELAB images, (..., H, W).

    Sharma, Wu, Dalal 2005, doi:10.1002/col.20070, with kL = kC = kH = 1. Its gradient is finite
    everywhere, also between equal and between grey colours.
    """
    (l1, a1, b1), (l2, a2, b2) = lab1.unbind(-3), lab2.unbind(-3)
    c_mean = (_length(a1, b1) + _length(a2, b2)) / 2
    stretch = 1.5 - 0.5 * _saturation(c_mean)
    a1, a2 = stretch * a1, stretch * a2
    c1, c2 = _length(a1, b1), _length(a2, b2)
    product, c_mean, l_mean = c1 * c2, (c1 + c2) / 2, (l1 + l2) / 2
    # 2 sqrt(C1 C2) sin(dh / 2) without an angle, from sin(dh / 2) = sin(dh) / (2 cos(dh / 2)).
    both = product + (a1 * a2 + b1 * b2)
    cross = a1 * b2 - a2 * b1
    # The mean hue is that of the sum of unit vectors; it counts for nothing where one is grey.
    cos, sin = a1 * c2 + a2 * c1, b1 * c2 + b2 * c1
    # About half a turn apart, the shorter turn decides, else the lower hue comes first (Sharma et
    # al., eq. 10 and 14).
    # A chroma of about 1e-5 or less is taken for grey: its hue has no second derivative.
    grey = product <= 1e-10
    opposite = ~grey & (both <= 1e-9 * product)
    across, up = a1 * c2 - a2 * c1, b1 * c2 - b2 * c1
    first = torch.where(cross == 0, torch.where(up == 0, across, up), cross)
    first = torch.where(first > 0, 1.0, -1.0).to(cross)
    both, cross = torch.where(opposite | grey, 1.0, both), torch.where(grey, 0.0, cross)
    d_h = 2 * first * _root(product)
    d_h = torch.where(opposite, d_h, math.sqrt(2) * cross * both.rsqrt())
    cos, sin = torch.where(opposite, -first * up, cos), torch.where(opposite, first * across, sin)
    unit = torch.where(grey, 1.0, product).reciprocal()
    cos, sin = torch.where(grey, 1.0, unit * cos), torch.where(grey, 0.0, unit * sin)
    hue = torch.atan2(sin, cos)
    scale = (cos.square() + sin.square()).clamp_min(1e-12).rsqrt()
    cos, sin = cos * scale, sin * scale
    cos2, sin2 = 2 * cos.square() - 1, 2 * sin * cos
    t = (
        1
        - _turned(0.17, -30, cos, sin)
        + 0.24 * cos2
        + _turned(0.32, 6, cos * (2 * cos2 - 1), sin * (2 * cos2 + 1))
        - _turned(0.20, -63, 2 * cos2.square() - 1, 2 * sin2 * cos2)
    )
    offset = (l_mean - 50).square()
    s_l = 1 + 0.015 * offset * (20 + offset).rsqrt()
    s_c, s_h = 1 + 0.045 * c_mean, 1 + 0.015 * c_mean * t
    # 275 degrees are -85; hues are in [-180, 180], and the term is 1e-6 at the far side of these.
    bend = ((hue + math.radians(85)) * (180 / math.pi / 25)).square()
    r_t = -2 * _saturation(c_mean) * torch.sin(math.radians(60) * torch.exp(-bend))
    x, y, z = (l2 - l1) / s_l, (c2 - c1) / s_c, d_h / s_h
    return _root(x.square() + y.square() + z.square() + r_t * y * z)


def _matrix(like: Tensor) -> Tensor:
    return constant(_TO_XYZ, like)


def _mix(matrix: Tensor, channels: Tensor) -> Tensor:
    return torch.einsum("ij,...jhw->...ihw", matrix, channels)


def _root(x: Tensor) -> Tensor:
    """Square root with derivative 0, not infinity, at 0, which is anything below 1e-30, not NaN."""
    zero = x <= 1e-30
    return torch.where(zero, 0.0, torch.where(zero, 1.0, x).sqrt())


def _length(a: Tensor, b: Tensor) -> Tensor:
    return (a.square() + b.square()).clamp_min(1e-20).sqrt()


def _saturation(chroma: Tensor) -> Tensor:
    """sqrt(C^7 / (C^7 + 25^7)), of chromas for which float32 holds its derivatives."""
    share = chroma.clamp_min(1e-2) / 25
    ratio = (share.square() * share).square() * share  # a power of 7 takes much longer
    return (ratio / (ratio + 1)).sqrt()


def _turned(factor: float, degrees: float, cos: Tensor, sin: Tensor) -> Tensor:
    """factor * cos(angle + degrees), from the cosine and sine of the angle."""
    turn = math.radians(degrees)
    return factor * math.cos(turn) * cos - factor * math.sin(turn) * sin
