"""What attackers and accidents put in place of a file: one sentence, and nothing executed."""

import gzip
import importlib.util
import io
import pickle
import resource
import struct
import subprocess
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from perceptbench.agreement import own_tables
from perceptbench.datasets.fetch.unpack import Limits, unpack
from perceptbench.datasets.files import Files
from perceptbench.datasets.images import read_image
from perceptbench.datasets.judgements.tables import read_table
from perceptbench.datasets.prepare import prepare
from perceptbench.datasets.readers.csiq import csiq
from perceptbench.datasets.readers.matlab import variable
from perceptbench.datasets.readers.table import judgement_file
from perceptbench.errors import DataError, PerceptbenchError, UsageError
from perceptbench.losses.backbones import load_network
from perceptbench.losses.weights import load_head
from perceptbench.metrics.card import read_folder
from perceptbench.reporting import csv, html, latex, markdown, run_folder

TABLE = pd.DataFrame(
    {"reference": ["r.png"] * 2, "distorted": ["a.png", "b.png"], "quality": [1, 2]}
)
CSV = TABLE.to_csv(index=False).encode()
LOGIN = b"<!DOCTYPE html>\n<html><body>Please log in to download</body></html>\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"


def parquet(table=TABLE):
    out = io.BytesIO()
    table.to_parquet(out)
    return out.getvalue()


def spreadsheet(sheet="Sheet1", table=TABLE, **options):
    out = io.BytesIO()
    table.to_excel(out, sheet_name=sheet, index=False, **options)
    return out.getvalue()


def zipped(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return out.getvalue()


def one_sentence(error: BaseException, *words: str) -> None:
    text = str(error)
    assert "\n" not in text and len(text) < 1500
    for word in words:
        assert word in text, text


# -- the wrong type behind the suffix ---------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.csv", gzip.compress(CSV, mtime=0), "compressed with gzip"),
        ("x.csv", parquet(), "Parquet: its name has to end in .parquet"),
        ("x.csv", spreadsheet(), "a spreadsheet: unpack it, or save it as CSV"),
        ("x.csv", LOGIN, "a web page: does its owner ask to log in?"),
        ("x.csv", POINTER, "a pointer of Git LFS"),
        ("x.csv", CSV.decode().encode("utf-16"), "UTF-16: save it as UTF-8"),
        (
            "x.csv",
            CSV.replace(b"b.png", b"\xe4.png"),
            "line 3 is not UTF-8: save the file as UTF-8",
        ),
        ("x.csv", CSV.replace(b"b.png", b"b\0.png"), "line 3 has a NUL byte"),
        ("x.csv", b"", "cannot be read as a table"),
        ("x.parquet", CSV, "cannot be read as a table"),
        ("x.parquet", LOGIN, "a web page"),
        ("x.parquet", parquet()[:-20], "cannot be read as a table"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,  # a spreadsheet holds its time
)
def test_a_table_that_is_something_else_is_named(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as found:
        judgement_file(tmp_path / name)
    one_sentence(found.value, name, words)


def test_a_table_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbf" + CSV)
    assert len(judgement_file(tmp_path / "x.csv").judgements[0].table) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (LOGIN, "a web page"),
        (POINTER, "a pointer of Git LFS"),
        (zipped(a="b"), "a zip archive"),
        (b"just text", "no known format"),
        (b"%PDF-1.7", "a PDF"),
    ],
)
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp"])
def test_an_image_that_is_something_else_is_named(tmp_path, suffix, content, words):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError) as found:
        read_image(path)
    one_sentence(found.value, path.name, words)


def test_an_image_of_another_format_than_its_name_says_is_read(tmp_path):
    Image.new("RGB", (4, 3), (255, 0, 0)).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.jpg")
    assert read_image(tmp_path / "x.jpg").shape == (3, 3, 4)


@pytest.mark.parametrize("content", [LOGIN, POINTER, b"", b"\0" * 100, zipped(a="b"), CSV])
def test_weights_that_are_something_else_are_named(tmp_path, content):
    (tmp_path / "x.pth").write_bytes(content)
    for call in (
        lambda: load_head("x.pth:h", tmp_path),
        lambda: load_network("small-cnn", tmp_path / "x.pth"),
    ):
        with pytest.raises(DataError) as found:
            call()
        one_sentence(found.value, "x.pth: cannot be read as")
        if content in (LOGIN, POINTER):
            one_sentence(found.value, "web page" if content == LOGIN else "Git LFS")


# -- code in data --------------------------------------------------------------------------------


class Payload:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def payloads(path):
    """Suffix -> files of that kind with code in them."""
    array = np.array([Payload(path)], dtype=object)
    npy, npz, zipped_torch, old_torch = (io.BytesIO() for _ in range(4))
    np.save(npy, array, allow_pickle=True)
    np.savez(npz, a=array)
    torch.save({"h": Payload(path)}, zipped_torch)
    torch.save({"h": Payload(path)}, old_torch, _use_new_zipfile_serialization=False)
    plain = pickle.dumps({"h": Payload(path)})
    return {
        "npy": [npy.getvalue(), npz.getvalue(), plain],
        "pth": [zipped_torch.getvalue(), old_torch.getvalue(), plain],
        "pt": [zipped_torch.getvalue(), plain],
        "mat": [plain, npy.getvalue(), matlab_object()],
        "csv": [plain], "parquet": [plain], "png": [plain, npy.getvalue()],
    }  # fmt: skip


def matlab_object():
    """A MATLAB file with a function in it, which MATLAB would call."""
    from scipy.io import savemat
    from scipy.io.matlab import MatlabObject

    out = io.BytesIO()
    name = np.array([("system", "touch")], dtype=[("function", "O"), ("argument", "O")])
    savemat(out, {"h": MatlabObject(name, "inline")})
    return out.getvalue()


def test_a_payload_would_work(tmp_path):
    """The test below means something."""
    np.load(io.BytesIO(payloads(tmp_path / "ran")["npy"][0]), allow_pickle=True)
    assert (tmp_path / "ran").exists()


def test_pickles_are_refused_wherever_they_are_and_nothing_is_executed(tmp_path):
    ran = tmp_path / "ran"
    judge = tmp_path / "2afc" / "val" / "cnn" / "judge"
    readers = {
        "npy": [read_image, lambda p: bapps(p, judge)],
        "pth": [
            lambda p: load_head(f"{p.name}:h", p.parent), lambda p: load_network("small-cnn", p),
        ],
        "pt": [lambda p: load_head(f"{p.name}:h", p.parent)],
        "mat": [lambda p: variable(p, "h")],
        "csv": [read_table, judgement_file], "parquet": [read_table, own_tables.read_scores],
        "png": [read_image],
    }  # fmt: skip
    for suffix, contents in payloads(ran).items():
        for content in contents:
            path = tmp_path / f"x.{suffix}"
            path.write_bytes(content)
            for read in readers[suffix]:
                try:
                    found = read(path)
                except PerceptbenchError as error:
                    one_sentence(error)
                else:
                    assert suffix == "mat" and set(found) <= {"no text or number"}, (suffix, found)
                assert not ran.exists(), (suffix, content[:20])


def bapps(path, judge):
    """The reader of BAPPS, given this file as a judgement."""
    from perceptbench.datasets.readers.bapps import two_afc

    for side in ("ref", "p0", "p1", "judge"):
        (judge.parent / side).mkdir(parents=True, exist_ok=True)
    (judge / "000000.npy").write_bytes(path.read_bytes())
    return two_afc(Files(judge.parents[3], "bapps-val"), "val")


def test_a_matlab_file_that_crashes_its_reader_is_named(tmp_path):
    """scipy looks up the type of an element without looking whether there is one of that number."""
    from scipy.io import savemat

    savemat(tmp_path / "x.mat", {"h": np.arange(40.0)})
    assert variable(tmp_path / "x.mat", "h").tolist() == list(range(40))
    data = bytearray((tmp_path / "x.mat").read_bytes())
    place = data.index(struct.pack("<II", 9, 320))  # 40 numbers of 8 bytes
    data[place : place + 4] = struct.pack("<I", 0x7FFF_FFFF)
    (tmp_path / "x.mat").write_bytes(data)
    with pytest.raises(DataError, match=r"x\.mat: no variable h can be read \(.+\)"):
        variable(tmp_path / "x.mat", "h")


# -- bombs ---------------------------------------------------------------------------------------


def test_a_spreadsheet_with_an_xml_bomb_is_refused_at_once(tmp_path):
    entities = "".join(
        f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' if i else '<!ENTITY l0 "lol">' for i in range(12)
    )
    bomb = f'<?xml version="1.0"?><!DOCTYPE x [{entities}]><worksheet>&l11;</worksheet>'
    outside = (
        '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
        "<worksheet>&e;</worksheet>"
    )
    columns = ["image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"]
    rows = pd.DataFrame([["1600", 1, "noise", 1, 0.1, 0.2]], columns=columns)
    plain = spreadsheet("all_by_image", rows, startrow=3, startcol=3)
    (tmp_path / "x.xlsx").write_bytes(plain)
    assert len(csiq(Files(tmp_path, "csiq"), "x.xlsx").judgements[0].table) == 1
    for text in (bomb, outside):
        for inside in ("xl/worksheets/sheet1.xml", "xl/workbook.xml", "[Content_Types].xml"):
            with zipfile.ZipFile(io.BytesIO(plain)) as packed:
                files = {name: packed.read(name) for name in packed.namelist()}
            (tmp_path / "x.xlsx").write_bytes(zipped(**{**files, inside: text}))
            began = time.process_time()
            with pytest.raises(DataError) as found:
                csiq(Files(tmp_path, "csiq"), "x.xlsx")
            assert time.process_time() - began < 2
            one_sentence(found.value, "x.xlsx: not the sheet all_by_image of CSIQ")
            assert "root:" not in str(found.value)


def header_only(kind):
    """An image of 60,000 x 60,000 pixels (10.8 GB) in some hundred bytes."""
    side = 60_000
    if kind == "png":

        def chunk(name, data):
            return (
                struct.pack(">I", len(data))
                + name
                + data
                + struct.pack(">I", zlib.crc32(name + data))
            )

        head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        return (
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
            + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
        )  # fmt: skip
    out = io.BytesIO()
    Image.new("RGB", (333, 222)).save(out, {"jpg": "JPEG", "tif": "TIFF"}.get(kind, kind.upper()))
    data = out.getvalue()
    small, large = {
        "jpg": (struct.pack(">HH", 222, 333), struct.pack(">HH", side, side)),
        "bmp": (struct.pack("<II", 333, 222), struct.pack("<II", side, side)),
        "gif": (struct.pack("<HH", 333, 222), struct.pack("<HH", side, side)),
        "tif": (struct.pack("<H", 333), struct.pack("<H", side)),
    }[kind]
    assert small in data
    if kind == "tif":
        data = data.replace(struct.pack("<H", 222), struct.pack("<H", side))
    return data.replace(small, large)


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "gif", "tif"])
def test_an_image_that_would_fill_the_memory_is_refused_from_its_header(tmp_path, kind):
    path = tmp_path / f"bomb.{kind}"
    path.write_bytes(header_only(kind))
    assert path.stat().st_size < 300_000
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / path.name).write_bytes(path.read_bytes())
    calls = [lambda: read_image(path), lambda: read_image(path, 64)]
    if kind in ("png", "jpg", "bmp"):
        calls += [lambda: read_folder(folder), lambda: prepare(folder, tmp_path / "out")]
    for call in calls:
        tracemalloc.start()
        with pytest.raises(DataError, match="decompression bomb") as found:
            call()
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
        tracemalloc.stop()
        one_sentence(found.value, path.name)


def test_an_animation_without_end_is_refused_at_once(tmp_path):
    """Counting the frames of such a file takes minutes, decoding them hours."""
    out = io.BytesIO()
    frames = [Image.new("L", (8, 8), grey) for grey in (0, 255)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], loop=0, disposal=1)
    data = out.getvalue()
    start = data.rindex(b"\x21\xf9")  # the last frame, to the end mark
    (tmp_path / "x.gif").write_bytes(data[:-1] + data[start:-1] * 1_000_000 + b";")
    assert (tmp_path / "x.gif").stat().st_size > 20_000_000
    began = time.process_time()
    with pytest.raises(DataError, match="several frames"):
        read_image(tmp_path / "x.gif")
    assert time.process_time() - began < 2


def test_text_in_a_png_does_not_fill_the_memory(tmp_path):
    """A chunk zTXt of 64 MiB in 64 kB, as Pillow limits it."""
    data = header_only("png")
    at = data.index(b"IDAT") - 4
    text = b"a\0\0" + zlib.compress(bytes(64 << 20), 9)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + text))
    small = data.replace(struct.pack(">II", 60_000, 60_000), struct.pack(">II", 1, 1))
    (tmp_path / "x.png").write_bytes(small[:at] + chunk + small[at:])
    with pytest.raises(DataError, match=r"x\.png: cannot be read as an image"):
        read_image(tmp_path / "x.png")


def test_a_bomb_in_a_bomb_is_unpacked_once_only(tmp_path):
    """What is in an archive is a file: nothing is unpacked that nobody asked for."""
    inner = zipped(zeros=bytes(50_000_000))
    outer = zipped(**{f"{i}.zip": inner for i in range(100)})
    (tmp_path / "outer.zip").write_bytes(outer)
    files = unpack(tmp_path / "outer.zip", tmp_path / "out")
    assert len(files) == 100 and sum(size for size, _ in files.values()) < 10_000_000
    with pytest.raises(DataError, match="200 times its own size"):
        unpack(tmp_path / "out" / "7.zip", tmp_path / "in", limits=Limits(free=1 << 20))


# -- size ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_fifty_thousand_columns_are_read_in_seconds(tmp_path):
    count = 50_000
    names = ",".join(f"c{i}" for i in range(count))
    path = tmp_path / "wide.csv"
    with path.open("w") as file:
        file.write(f"reference,distorted,quality,{names}\n")
        for i in range(3):
            file.write(f"r.png,{i}.png,{i},{','.join([str(i)] * count)}\n")
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    dataset = judgement_file(path)
    assert dataset.judgements[0].table.shape == (3, count + 3)
    with pytest.raises(DataError, match="has 50,000 columns of numbers; at most 2,000 metrics"):
        own_tables.read_scores(path)
    assert time.process_time() - began < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # in KiB


LONG = "n" * 10_000


def test_names_of_ten_thousand_characters_are_ranked_or_refused_in_a_sentence(tmp_path, images):
    (tmp_path / "mine.csv").write_bytes(CSV)
    scores = TABLE[["reference", "distorted"]].assign(**{LONG: [1.0, 2.0], "m": [2.0, 1.0]})
    scores.to_csv(tmp_path / "scores.csv", index=False)
    own = own_tables.read(mine := tmp_path / "mine.csv", scores := tmp_path / "scores.csv")
    assert LONG in set(own.evaluate().table["metric"]) and own.judgements.dataset == "mine"
    for call, error in (
        (lambda: judgement_file(tmp_path / f"{LONG}.csv"), UsageError),
        (lambda: own_tables.read(tmp_path / LONG, scores), DataError),
        (lambda: read_image(tmp_path / f"{LONG}.png"), DataError),
        (lambda: own_tables.read(mine, scores, metrics=[LONG + "m"]), UsageError),
        (lambda: load_head(f"{LONG}.pth:h", tmp_path), DataError),
    ):  # fmt: skip
        with pytest.raises(error) as raised:
            call()
        one_sentence(raised.value, "nnn...nnn")


def test_a_run_over_a_file_of_any_name_can_be_reported(cli, images):
    name = "=1 b%c" + "é" * 116
    (images / f"{name}.csv").write_bytes(CSV.replace(b"r.png", b"ref.png"))
    code, _, errors = cli("run", "--judgements", images / f"{name}.csv", "-m", "mse", "-o", "out")
    assert code == 0, errors
    code, _, errors = cli("report", "out", "-o", "again", "--format", "csv,md")
    assert code == 0, errors
    for file in ("agreement.csv", "leaderboard.csv", "leaderboard.md"):
        assert Path("out", file).read_bytes() == Path("again", file).read_bytes()
    assert run_folder.read(Path("out")).judgements[0].dataset == name


# -- names that are no UTF-8 ---------------------------------------------------------------------

BAD = b"bad\xff"


def test_a_file_whose_name_is_no_utf8_is_named_where_it_would_stand_in_a_table(tmp_path, images):
    import os

    raw = os.fsencode(tmp_path)
    Path(os.fsdecode(raw + b"/" + BAD + b".csv")).write_bytes(CSV)
    with pytest.raises(DataError) as found:
        judgement_file(Path(os.fsdecode(raw + b"/" + BAD + b".csv")))
    one_sentence(found.value, "bad\\udcff.csv", "no UTF-8")
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 40)).save(os.fsdecode(raw + b"/photos/" + BAD + b".png"))
    with pytest.raises(DataError) as found:
        prepare(tmp_path / "photos", tmp_path / "out")
    one_sentence(found.value, "bad\\udcff.png", "no UTF-8")
    assert read_image(Path(os.fsdecode(raw + b"/photos/" + BAD + b".png"))).shape == (3, 40, 40)


def test_judgements_of_bapps_with_such_names_are_refused(tmp_path):
    import os

    from perceptbench.datasets.load import read_dataset
    from perceptbench.datasets.manifest import find_manifest

    for side in ("ref", "p0", "p1", "judge"):
        (tmp_path / "val" / "traditional" / side).mkdir(parents=True)
    where = os.fsencode(tmp_path / "val" / "traditional" / "judge")
    np.save(os.fsdecode(where + b"/" + BAD + b".npy"), np.array([0.4]))
    with pytest.raises(DataError) as found:
        read_dataset(find_manifest("bapps-val"), tmp_path, allow_missing=True)
    one_sentence(found.value, "bad\\udcff.npy", "no UTF-8")


def test_members_with_such_names_are_unpacked_and_listed(tmp_path):
    import json
    import os
    import tarfile

    with tarfile.open(tmp_path / "x.tar", "w") as packed:
        info = tarfile.TarInfo(os.fsdecode(BAD + b".txt"))
        info.size = 3
        packed.addfile(info, io.BytesIO(b"abc"))
    files = unpack(tmp_path / "x.tar", tmp_path / "out")
    assert [os.fsencode(name) for name in files] == [BAD + b".txt"]
    assert json.loads(json.dumps({name: size for name, (size, _) in files.items()}))
    with pytest.raises(DataError, match=r"bad\\udcff\.txt: its name is no UTF-8; rename it"):
        Files(tmp_path / "out", "x").path("bad*.txt")


# -- what a terminal and a page would take for commands --------------------------------------------


def test_errors_do_nothing_to_a_terminal(cli, tmp_path):
    (tmp_path / "x.csv").write_text("reference,distorted,quality\nr,a,\x1b]0;owned\x07\n")
    code, output, errors = cli("run", "--judgements", tmp_path / "x.csv", "-m", "mse")
    assert code == 1 and "\\x1b]0;owned\\x07" in errors
    assert not {"\x1b", "\x07"} & set(output + errors)


def test_every_report_escapes_the_names_of_every_table(make_nasty_run):
    """Markup of HTML, Markdown and LaTeX in names of datasets, metrics, what is skipped, notes."""
    run = make_nasty_run(
        "<script>alert(1)</script>[x](javascript:a)`\\input{/etc/passwd}$&%\x1b[31m"
    )
    page = html.render(run)["leaderboard.html"]
    assert "<script>alert" not in page
    text = markdown.render(run)["leaderboard.md"]
    prose, command = text.split("Made by ")  # which is a code span
    assert "<script>" not in prose and "[x](" not in prose and command.startswith("`` <script>")
    table = latex.render(run)["leaderboard.tex"]
    assert "\\input{" not in table and "\\textbackslash{}input" in table
    assert "\x1b" not in text + table  # a terminal would obey it
    assert all(csv.render(run).values())


def test_a_run_from_folders_whose_names_are_no_utf8_is_kept_and_reported(cli, images, tmp_path):
    import os

    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + BAD))
    folder.mkdir()
    for name in ("ref", "a", "b"):
        (images / f"{name}.png").rename(folder / f"{name}.png")
    (tmp_path / "mine.csv").write_bytes(CSV.replace(b"r.png", b"ref.png"))
    scores = folder / "scores.csv"
    scores.write_text("reference,distorted,\x1b[31mm\nref.png,a.png,1\nref.png,b.png,2\n")
    code, output, errors = cli(
        "run", "--judgements", tmp_path / "mine.csv", "--images", folder, "-m", "mse",
        "--scores", scores, "-o", "out",
    )  # fmt: skip
    assert code == 0 and "bad\\udcff" in output and "\x1b" not in output, errors
    code, _, errors = cli("report", "out", "-o", "again", "--format", "html")
    assert code == 0, errors
    assert "bad\\udcff" in Path("again", "leaderboard.html").read_text()


@pytest.fixture
def make_nasty_run():
    path = Path(__file__).parents[1] / "reporting" / "conftest.py"
    spec = importlib.util.spec_from_file_location("reporting_conftest", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda name: module.build_run(
        (f"one {name}", f"two {name}"), worst=name, skipped=f"not {name}", command=name
    )


def test_a_run_folder_may_not_reach_out_of_itself(tmp_path, make_nasty_run):
    """The tables that ``run.json`` names lie in the run folder, whatever it says."""
    import json

    run_folder.write(make_nasty_run("plain"), tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    record = json.loads(path.read_text())
    for file in ("../../secret.parquet", "/etc/x.parquet", "judgements/../../x.parquet"):
        record["judgements"][0]["file"] = file
        path.write_text(json.dumps(record))
        with pytest.raises(DataError, match=r"run\.json: key `judgements\.0\.file`"):
            run_folder.read(tmp_path / "run")


def test_a_plain_tar_called_gz_is_unpacked(tmp_path):
    command = ["tar", "-cf", tmp_path / "x.tar.gz", "-C", Path(__file__).parent, "fuzz.py"]
    subprocess.run(command, check=True)
    assert list(unpack(tmp_path / "x.tar.gz", tmp_path / "out")) == ["fuzz.py"]
    (tmp_path / "x.zip").write_bytes(LOGIN)
    with pytest.raises(DataError, match=r"x\.zip: is no zip, tar, rar or 7z archive"):
        unpack(tmp_path / "x.zip", tmp_path / "none")
