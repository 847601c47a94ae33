"""Colour spaces and colour differences, differentiable.

Conventions
-----------
Tensors (..., 3, H, W), channels at dimension -3. sRGB-coded and linear values are in [0, 1], XYZ
is relative to a white of Y = 1, CIELAB is L* in [0, 100] with a*, b* around 0.
"""

import math

import torch
from torch import Tensor

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
    return _mix(torch.tensor([_LUMA], dtype=coded.dtype, device=coded.device), coded)


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
    g = 0.5 * (1 - _saturation(c_mean))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = _length(a1, b1), _length(a2, b2)
    c_mean, l_mean = (c1 + c2) / 2, (l1 + l2) / 2
    # 2 sqrt(C1 C2) sin(dh / 2) without an angle, from sin(dh / 2) = sin(dh) / (2 cos(dh / 2)).
    cross, dot = a1 * b2 - a2 * b1, a1 * a2 + b1 * b2
    # Half a turn apart, or grey, which a chroma of less than 1e-15 is taken for.
    opposite = (c1 * c2 == 0) | (c1 * c2 + dot <= 1e-9 * c1 * c2)
    h1, h2 = _hue(a1, b1, c1), _hue(a2, b2, c2)
    d_h = torch.where(
        opposite,
        2 * _root(c1 * c2) * _turn_sign(h1, h2),
        math.sqrt(2) * cross / torch.where(opposite, 1.0, c1 * c2 + dot).sqrt(),
    )
    h_mean = _mean_hue(h1, h2, c1 * c2)
    t = (
        1
        - 0.17 * torch.cos(h_mean - math.radians(30))
        + 0.24 * torch.cos(2 * h_mean)
        + 0.32 * torch.cos(3 * h_mean + math.radians(6))
        - 0.20 * torch.cos(4 * h_mean - math.radians(63))
    )
    offset = (l_mean - 50) ** 2
    s_l = 1 + 0.015 * offset / (20 + offset).sqrt()
    s_c, s_h = 1 + 0.045 * c_mean, 1 + 0.015 * c_mean * t
    degrees = torch.rad2deg(h_mean) % 360
    turn = math.radians(60) * torch.exp(-(((degrees - 275) / 25) ** 2))
    r_t = -2 * _saturation(c_mean) * torch.sin(turn)
    x, y, z = (l2 - l1) / s_l, (c2 - c1) / s_c, d_h / s_h
    return _root(x**2 + y**2 + z**2 + r_t * y * z)


def _matrix(like: Tensor) -> Tensor:
    return torch.tensor(_TO_XYZ, dtype=like.dtype, device=like.device)


def _mix(matrix: Tensor, channels: Tensor) -> Tensor:
    return torch.einsum("ij,...jhw->...ihw", matrix, channels)


def _root(x: Tensor) -> Tensor:
    """Square root with derivative 0, not infinity, at 0, which is anything below 1e-30, not NaN."""
    zero = x <= 1e-30
    return torch.where(zero, 0.0, torch.where(zero, 1.0, x).sqrt())


def _length(a: Tensor, b: Tensor) -> Tensor:
    return _root(a**2 + b**2)


def _saturation(chroma: Tensor) -> Tensor:
    """sqrt(C^7 / (C^7 + 25^7)), for chromas whose seventh power float32 still holds."""
    ratio = (chroma.clamp_min(1e-3) / 25) ** 7
    return _root(ratio / (ratio + 1))


def _turn_sign(h1: Tensor, h2: Tensor) -> Tensor:
    """Which way the shorter turn from hue 1 to hue 2 goes, 1 or -1 (Sharma et al., eq. 10)."""
    backwards = (h2 < h1) != ((h2 - h1).abs() > math.pi)
    return torch.where(backwards, -1.0, 1.0).to(h1)


def _mean_hue(h1: Tensor, h2: Tensor, chroma_product: Tensor) -> Tensor:
    """Mean hue angle in radians; where one chroma is 0, the other's hue.

    By the sign rule of Sharma et al., eq. 14: hues more than half a turn apart have their mean on
    the short side.
    """
    apart = (h1 - h2).abs() > math.pi
    mean = (h1 + h2) / 2
    mean = torch.where(
        apart, torch.where(h1 + h2 < 2 * math.pi, mean + math.pi, mean - math.pi), mean
    )
    return torch.where(chroma_product == 0, h1 + h2, mean)


def _hue(a: Tensor, b: Tensor, chroma: Tensor) -> Tensor:
    """Hue angle in [0, 2 pi), 0 for grey, whose angle has no derivative."""
    grey = chroma == 0
    angle = torch.atan2(torch.where(grey, 0.0, b), torch.where(grey, 1.0, a))
    return torch.where(angle < 0, angle + 2 * math.pi, angle)
