"""Images: every kind of file becomes the same tensor, damaged ones are named."""

import io
import pickle
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms.functional import resize

from perceptbench.datasets import images
from perceptbench.datasets.images import KERNELS, FileLoader, read_image
from perceptbench.errors import DataError

RNG = np.random.default_rng(0)
GREY = np.array([[0, 51, 102], [153, 204, 255]], dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)


def save(path, array, **options):
    image = array if isinstance(array, Image.Image) else Image.fromarray(np.asarray(array))
    image.save(path, **options)
    return path


def tensor(array):
    """(H, W, 3) uint8 -> the tensor it should be read as."""
    return torch.from_numpy(np.array(array)).permute(2, 0, 1).float() / 255


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(path, array, before=b""):
    """A 16-bit PNG of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 channels: Pillow writes none."""
    height, width, channels = array.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))
    return path


def test_grey_palette_and_colour_files_are_the_same_picture(tmp_path):
    expected = torch.from_numpy(GREY).float().div(255).expand(3, 2, 3)
    image = Image.fromarray(GREY)
    paths = [
        save(tmp_path / "grey.png", image),
        save(tmp_path / "grey.bmp", image),
        save(tmp_path / "grey.tif", image),
        save(tmp_path / "deep.png", GREY.astype(np.uint16) * 257),
        save(tmp_path / "deep.tif", GREY.astype(np.uint16) * 257),
        save(tmp_path / "palette.png", image.convert("P")),
        save(tmp_path / "palette.gif", image.convert("P")),
        save(tmp_path / "colour.png", image.convert("RGB")),
        save(tmp_path / "alpha.png", image.convert("LA")),
        save(tmp_path / "rgba.png", image.convert("RGBA")),
        save(tmp_path / "colour.webp", image.convert("RGB"), lossless=True),
        save(tmp_path / "grey.jpg", image, quality=100),
        save(tmp_path / "colour.jpg", image.convert("RGB"), quality=100, subsampling=0),
    ]
    for path in paths:
        read = read_image(path)
        lossy = 2 / 255 if path.suffix == ".jpg" else 1e-6
        torch.testing.assert_close(read, expected, rtol=0, atol=lossy, msg=path.name)
        assert read.dtype == torch.float32 and read.is_contiguous()
    bits = save(tmp_path / "bits.png", Image.fromarray(GREY > 128))
    assert torch.equal(read_image(bits), (expected > 0.5).float())


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_all_16_bits_of_a_png_are_read(tmp_path, channels):
    array = RNG.integers(0, 65536, (7, 5, channels))
    array[..., 1 if channels == 2 else 3 :] = 65535
    read = read_image(png16(tmp_path / "deep.png", array))
    colours = array[..., [0, 0, 0]] if channels < 3 else array[..., :3]
    expected = torch.from_numpy(colours / 65535).permute(2, 0, 1).float()
    torch.testing.assert_close(read, expected, rtol=0, atol=1e-7)
    assert len(read[0].unique()) > 30


def test_16_bit_transparency_is_laid_on_white(tmp_path):
    array = np.array([[[65535, 0, 0, 16384], [1, 2, 3, 65535]]])
    read = read_image(png16(tmp_path / "rgba.png", array))
    a = 16384 / 65535
    torch.testing.assert_close(read[:, 0, 0], torch.tensor([1, 1 - a, 1 - a]))
    key = chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3))
    read = read_image(png16(tmp_path / "key.png", array[..., :3], key))
    assert read[:, 0, 1].tolist() == [1, 1, 1] and read[:, 0, 0].tolist() == [1, 0, 0]


def test_transparent_pixels_are_laid_on_white_which_is_said_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(images, "_said", set())
    layers = np.array([[[255, 0, 0, 51], [10, 20, 30, 255]]], dtype=np.uint8)
    for name in ("a.png", "b.png"):
        read = read_image(save(tmp_path / name, layers))
        torch.testing.assert_close(read[:, 0, 0], torch.tensor([1.0, 0.8, 0.8]))
        torch.testing.assert_close(read[:, 0, 1] * 255, torch.tensor([10.0, 20.0, 30.0]))
    errors = capsys.readouterr().err
    assert errors.count("laid on white") == 1 and "a.png" in errors
    palette = Image.fromarray(layers[..., :3]).quantize(4)
    path = save(tmp_path / "p.png", palette, transparency=palette.getpixel((0, 0)))
    assert read_image(path)[:, 0, 0].tolist() == [1, 1, 1]


@pytest.mark.parametrize("options", [
    {"quality": 90}, {"quality": 30, "subsampling": 1}, {"quality": 100, "subsampling": 0},
    {"progressive": True}, {"optimize": True},
])  # fmt: skip
@pytest.mark.parametrize("grey", [False, True])
def test_jpeg_has_the_values_of_pillow(tmp_path, options, grey):
    image = Image.fromarray(COLOUR).resize((101, 77))
    path = save(tmp_path / "x.jpg", image.convert("L") if grey else image, **options)
    assert torch.equal(read_image(path), tensor(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("options", [{}, {"quality": 100}, {"lossless": True}])
def test_webp_has_the_values_of_pillow(tmp_path, options):
    image = Image.fromarray(COLOUR).resize((101, 77))
    path = save(tmp_path / "x.webp", image, **options)
    assert torch.equal(read_image(path), tensor(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("suffix", ["webp", "gif", "png", "tif"])
def test_several_frames_are_refused(tmp_path, suffix):
    image = Image.fromarray(COLOUR)
    path = save(tmp_path / f"x.{suffix}", image, save_all=True, append_images=[image.rotate(180)])
    with pytest.raises(
        DataError, match=r"x\.\w+: holds several frames; save the one that is meant"
    ):
        read_image(path)


@pytest.mark.parametrize(("curve", "name"), [(16, "PQ"), (18, "HLG")])
def test_high_dynamic_range_is_refused_by_name(tmp_path, curve, name):
    wide = chunk(b"cICP", bytes([9, curve, 0, 1]))
    with pytest.raises(DataError, match=f"high dynamic range \\({name}\\); give it tone-mapped"):
        read_image(png16(tmp_path / "x.png", COLOUR.astype(np.uint16) * 257, before=wide))
    narrow = chunk(b"cICP", bytes([1, 13, 0, 1]))  # sRGB
    read_image(png16(tmp_path / "x.png", COLOUR.astype(np.uint16) * 257, before=narrow))


def profile(primaries, gamma):
    """An ICC profile of matrix and curves (ICC.1:2001-04), from RGB primaries as XYZ of D50."""

    def s15(*values):
        return b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    tags = {b"wtpt": b"XYZ \0\0\0\0" + s15(0.9642, 1.0, 0.8249)}
    for letter, xyz in zip(b"rgb", primaries, strict=True):
        tags[bytes([letter]) + b"XYZ"] = b"XYZ \0\0\0\0" + s15(*xyz)
        curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
        tags[bytes([letter]) + b"TRC"] = curve
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + b"\0" * 78
    tags[b"cprt"] = b"text\0\0\0\0x\0\0\0"
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        table += tag + struct.pack(">II", at + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"\0" * 4, 0x02100000, b"mntr", b"RGB ",
                       b"XYZ ") + b"\0" * 12 + b"acsp" + b"\0" * 28  # fmt: skip
    head += s15(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


SRGB_D50 = ((0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
#: Adobe RGB (1998), adapted to D50 (Lindbloom).
ADOBE_D50 = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))


def test_a_profile_that_is_not_srgb_is_converted(tmp_path):
    """The green of Adobe RGB at half its value, by the two matrices: outside sRGB only in red."""
    colour = np.full((8, 8, 3), (100, 128, 90), dtype=np.uint8)
    path = save(tmp_path / "x.png", colour, icc_profile=profile(ADOBE_D50, 563 / 256))
    linear = (np.array([100, 128, 90]) / 255) ** (563 / 256)
    expected = np.linalg.solve(np.array(SRGB_D50).T, np.array(ADOBE_D50).T @ linear)
    expected = np.where(
        expected <= 0.0031308, 12.92 * expected, 1.055 * expected ** (1 / 2.4) - 0.055
    )
    got = read_image(path)[:, 4, 4].numpy()
    np.testing.assert_allclose(got, expected, atol=2.5 / 255)
    assert np.abs(got - np.array([100, 128, 90]) / 255).max() > 8 / 255
    grey = save(
        tmp_path / "g.jpg", Image.fromarray(colour), icc_profile=path and profile(ADOBE_D50, 1.0)
    )
    assert read_image(grey).mean() > 0.6  # linear light, 0.42 of it


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_srgb_by_profile_is_left_to_the_last_bit(tmp_path, mode):
    from PIL import ImageCms

    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(COLOUR).convert(mode)
    path = save(tmp_path / "x.png", image, icc_profile=own)
    assert torch.equal(read_image(path), tensor(image.convert("RGB")))


def test_a_profile_of_no_use_is_named_and_ignored(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(images, "_said", set())
    path = save(tmp_path / "x.png", COLOUR, icc_profile=b"no profile at all")
    assert torch.equal(read_image(path), tensor(COLOUR))
    assert "x.png has a colour profile that is of no use" in capsys.readouterr().err


def test_cmyk_has_the_values_of_pillow_and_is_near_the_picture(tmp_path):
    image = Image.fromarray(COLOUR).resize((40, 24), Image.Resampling.BICUBIC)
    path = save(tmp_path / "x.jpg", image.convert("CMYK"), quality=100, subsampling=0)
    assert torch.equal(read_image(path), tensor(Image.open(path).convert("RGB")))
    assert (read_image(path) - tensor(image)).abs().mean() < 0.01


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    paths = [
        save(tmp_path / "x.jpg", COLOUR, exif=exif, quality=95),
        save(tmp_path / "x.png", COLOUR, exif=exif),
        png16(tmp_path / "deep.png", COLOUR.astype(int) * 257, chunk(b"eXIf", exif.tobytes()[6:])),
    ]
    for path in paths:
        expected = tensor(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
        torch.testing.assert_close(read_image(path), expected)


def test_resizing_is_that_of_pillow_and_torchvision(tmp_path):
    path = save(tmp_path / "x.png", COLOUR)
    image = Image.fromarray(COLOUR)
    assert read_image(path, 9).shape == (3, 9, 15)
    for name, kernel in KERNELS.items():
        assert torch.equal(read_image(path, 9, name), tensor(image.resize((15, 9), kernel)))
    assert torch.equal(read_image(path, 7), tensor(resize(image, 7)))
    assert torch.equal(FileLoader(tmp_path, 24)("x.png"), read_image(path))
    deep = png16(tmp_path / "deep.png", COLOUR.astype(int) * 257)
    torch.testing.assert_close(read_image(deep, 9), read_image(path, 9), rtol=0, atol=1.1 / 255)
    torch.testing.assert_close(
        read_image(deep, 9, "lanczos"), read_image(path, 9, "lanczos"), rtol=0, atol=1.1 / 255
    )


def test_the_kernels_of_bapps_are_the_known_ones(tmp_path):
    """Of 64 px, each four times: box and nearest undo it, bilinear does not."""
    small = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / "x.png", small.repeat(4, 0).repeat(4, 1))
    for kernel in ("nearest", "box"):
        assert torch.equal(read_image(path, 64, kernel), tensor(small))
    weights = torch.tensor([0.125, 0.75, 0.125])
    rows = (tensor(small).unfold(1, 3, 1) * weights).sum(-1)
    expected = (rows.unfold(2, 3, 1) * weights).sum(-1)
    read = read_image(path, 64)[:, 1:-1, 1:-1]
    torch.testing.assert_close(read, expected, rtol=0, atol=1.5 / 255)


def test_a_loader_can_be_sent_to_a_worker(tmp_path):
    save(tmp_path / "x.png", COLOUR)
    loader = pickle.loads(pickle.dumps(FileLoader(tmp_path, 8, "box")))
    assert loader == FileLoader(tmp_path, 8, "box") and loader("x.png").shape == (3, 8, 13)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp", "tif"])
def test_a_truncated_file_is_named(tmp_path, suffix):
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = save(tmp_path / f"whole.{suffix}", noise).read_bytes()
    for part in (len(whole) // 2, 60, 12, 1, 0):
        (tmp_path / f"torn.{suffix}").write_bytes(whole[:part])
        with pytest.raises(DataError, match=rf"torn\.{suffix}: cannot be read as an image \(.+\)"):
            read_image(tmp_path / f"torn.{suffix}")


@pytest.mark.parametrize("deep", [False, True])
def test_damage_within_a_png_is_named_and_crashes_nothing(tmp_path, deep):
    path = tmp_path / "x.png"
    png16(path, COLOUR.astype(int) * 257) if deep else save(path, COLOUR)
    whole = path.read_bytes()
    path.write_bytes(whole[:500] + bytes(50) + whole[550:])
    with pytest.raises(DataError, match=r"x\.png: cannot be read as an image"):
        read_image(path)


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_a_damaged_file_is_what_pillow_makes_of_it_or_named(tmp_path, suffix):
    whole = bytearray(save(tmp_path / f"x.{suffix}", COLOUR).read_bytes())
    for i in range(60):
        damaged = whole.copy()
        damaged[RNG.integers(2, len(whole))] = RNG.integers(256)
        path = tmp_path / f"{i}.{suffix}"
        path.write_bytes(damaged)
        try:
            read = read_image(path)
        except DataError as error:
            assert f"{i}.{suffix}: cannot be read as an image (" in str(error)
        else:
            image = ImageOps.exif_transpose(Image.open(path))
            assert torch.equal(read, tensor(image.convert("RGB")))


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(DataError, match=r"text\.png: .* \(no known format\)$"):
        FileLoader(tmp_path)("text.png")
    with pytest.raises(DataError, match="there is no such image"):
        FileLoader(tmp_path)("none.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataError, match=r"folder\.png: cannot be read"):
        FileLoader(tmp_path)("folder.png")


def test_values_without_a_known_range_are_refused(tmp_path):
    path = save(tmp_path / "f.tif", GREY.astype(np.float32))
    with pytest.raises(DataError, match=r"f\.tif: floating-point images have no known value range"):
        read_image(path)
    path = save(tmp_path / "i.tif", GREY.astype(np.int32))
    with pytest.raises(DataError, match=r"i\.tif: 32-bit integer images have no known value range"):
        read_image(path)


def test_a_decompression_bomb_is_refused_from_its_header(tmp_path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100)))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))
    out = io.BytesIO()
    Image.fromarray(GREY).convert("RGB").save(out, "JPEG")
    data = bytearray(out.getvalue())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", 60_000, 60_000)
    (tmp_path / "bomb.jpg").write_bytes(data)
    for name in ("bomb.png", "bomb.jpg"):
        with pytest.raises(DataError, match=rf"{name}: .* decompression bomb"):
            read_image(tmp_path / name)
