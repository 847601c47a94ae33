"""Feeds spoiled files to every reader: what comes out is a result or an error of ours.

    python tests/fuzz/fuzz.py                      all targets, 100,000 inputs
    python tests/fuzz/fuzz.py scores --count 500   one of them
    python tests/fuzz/fuzz.py scores --only 1234   one input again, its traceback in full

An input is known by its target and number, which decide it. A target is a folder of valid files; an
input is that folder with one of them spoiled (`mutations`). Anything but a PerceptbenchError is a
failure, and so are an input that takes SLOW seconds or GREEDY bytes more than any before it. What
kills or stops the process is found in the file given as --at.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from perceptbench.errors import PerceptbenchError

#: Seconds of computing that one input may take, seconds after which it hangs, bytes it may need.
SLOW, HANGS, GREEDY = 5.0, 60.0, 1 << 30
#: Different failures shown.
SHOWN = 20
COUNT = 100_000
MANIFESTS = Path(__file__).parents[2] / "datasets_manifest"
WORK = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


def beside(name: str, folder: Path = Path(__file__).parent) -> ModuleType:
    """A module of the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mutations = beside("mutations")
miniatures = beside("miniatures", Path(__file__).parents[1] / "datasets" / "readers")


@dataclass
class Target:
    """A reader and what it reads.

    Attributes
    ----------
    share : of all inputs, beside the shares of the others.
    files : path -> valid content; one of them is spoiled.
    call : reads the folder.
    fixed : path -> content of files that stay as they are.
    make : spoils a file in a way of its own.
    """

    share: float
    files: dict[str, bytes]
    call: Callable[[Path], Any]
    fixed: dict[str, bytes]
    make: Callable[[bytes, str, random.Random], bytes] = mutations.mutate

    def spoiled(self, rng: random.Random) -> tuple[str, bytes]:
        path = rng.choice(sorted(self.files))
        return path, self.make(self.files[path], Path(path).suffix, rng)


def targets() -> dict[str, Callable[[], dict[str, Target]]]:
    """Group -> its targets, made when asked for."""
    return {
        "toml": _toml, "records": _records, "tables": _tables, "images": _images,
        "archives": _archives, "weights": _weights, "runs": _runs, "datasets": _datasets,
    }  # fmt: skip


def _toml() -> dict[str, Target]:
    from perceptbench import study
    from perceptbench.datasets.load import parse_options
    from perceptbench.datasets.manifest import read_manifest
    from perceptbench.losses import config
    from perceptbench.metrics.registry import catalogue, read_info, select
    from perceptbench.metrics.sweep import sweep
    from perceptbench.scoring.options import parse_size

    root = Path(config.__file__).parents[1]
    losses = {p.name: p.read_bytes() for p in (root / "losses" / "presets").glob("*.toml")}
    losses |= {p.name: p.read_bytes() for p in (root / "metrics" / "presets").glob("*.toml")}
    losses["all.toml"] = _EVERY_KEY.encode()
    losses["terms.toml"] = _TERMS.encode()
    studies = {p.name: p.read_bytes() for p in study.shipped().values()}
    manifests = {p.name: p.read_bytes() for p in MANIFESTS.glob("*.toml")}
    known, networks = catalogue(), config.Networks()

    def read_loss(folder: Path) -> None:
        (path,) = folder.iterdir()
        info = read_info(path)
        if info.loss is None:
            return
        parsed = config.parse_loss(info.loss, str(path))
        table = parsed.backbone
        # A network named module:callable is the user's own code; large ones take seconds.
        if table is not None and table.name in ("steerable-pyramid", "small-cnn"):
            loss = config.build_loss(parsed, networks, folder, str(path))
            config.fingerprint(config.resolve(parsed, loss, folder))
        config.read_loss(str(path))

    def words(folder: Path) -> None:
        rng = random.Random((folder / "x").read_bytes())
        some = lambda *more: rng.choices([*mutations.WORDS, *more], k=rng.randrange(3))  # noqa: E731
        select(some("mse", "piq:ssim", "x.toml", "piq:"), known)
        sweep(some("small-cnn"), some("l1", "cosine"), some("relu1"), rng.choice(mutations.WORDS))
        parse_options(some("a=b", "kernel=box"), [read_manifest(MANIFESTS / "bapps-val.toml")])

    def size(folder: Path) -> None:
        with contextlib.suppress(ValueError):  # the command line makes a sentence of it
            parse_size(random.Random((folder / "x").read_bytes()).choice(mutations.WORDS) + "G")

    def only(files: dict[str, bytes], share: float, call: Callable[[Path], Any]) -> Target:
        """A target of files that are read alone, each by the name x.toml."""

        def make(_: bytes, suffix: str, rng: random.Random) -> bytes:
            return mutations.mutate(files[rng.choice(sorted(files))], suffix, rng)

        return Target(share, {"x.toml": b""}, call, {}, make)

    numbers = lambda _, __, rng: rng.randbytes(8)  # noqa: E731
    return {
        "loss": only(losses, 25, read_loss),
        "study": only(studies, 8, lambda f: study.read_study(str(f / "x.toml"), known)),
        "manifest": only(manifests, 14, lambda f: read_manifest(f / "x.toml")),
        "words": Target(1, {"x": b""}, words, {}, numbers),
        "size": Target(1, {"x": b""}, size, {}, numbers),
    }


_EVERY_KEY = """
[backbone]
name = "steerable-pyramid"
octaves = 2
orientations = 4
[input]
scales = [1, 0.5]
scale_weights = [1, 2]
value_range = [0, 1]
[[tap]]
layer = "octave1"
distance = "lp"
p = 3
reduction = "mean"
weight = 2
[[tap]]
layer = "image@0.5"
distance = "unit_normalised"
head = [1.0]
epsilon = 1e-8
"""
_TERMS = """
title = "a composite"
[[term]]
weight = 0.1
loss = "nlpd"
[[term]]
pixel = "l1"
[[term]]
matching = "pair"
layers = ["relu1"]
backbone = { name = "small-discriminator", weights = "random" }
"""


def _records() -> dict[str, Target]:
    from perceptbench.datasets.fetch import lockfile, transfer
    from perceptbench.datasets.fetch.download import Archive, verify
    from perceptbench.datasets.files import Files
    from perceptbench.datasets.manifest import find_manifest
    from perceptbench.datasets.readers.material import ANSWERS, IMAGES, material_appearance
    from perceptbench.datasets.stimuli.combvd import FILES, combvd

    pin = {"sha256": "0" * 64, "size": 1, "url": "http://x", "date": "2026-01-01"}
    entry = {"terms": "a", "source": "owner", "link": "/nowhere", "files": {"a.zip": pin}}
    lock = json.dumps({"tid2013": entry, "x": {"begun": True, "source": "owner"}}).encode()
    listing = json.dumps({"into": "", "files": {"a.txt": [1, "0" * 64]}}).encode()
    archive = Archive(path="a.zip", urls=(), source="owner", unpack=True)
    from perceptbench.datasets.locate import find_copy

    tid = find_manifest("tid2013")
    colours = {
        "reference_white": [95.0, 100.0, 108.9],
        "xyz": [[20.0, 21.0, 22.0], [20.5, 21.0, 22.0], [20.0, 21.5, 22.5], [30.0, 31.0, 32.0]],
        "pairs": [[0, 1], [0, 2], [1, 2]],
        "dv": [0.5, 1.0, 1.5],
    }
    answers = {"answers": [[0, 1, 2], [2, 1, 0]], "agreement": [[1, 3], [2, 2]]}
    part = {"url": "http://x/a", "etag": "e", "date": "d", "total": 5}
    return {
        "lock": Target(6, {lockfile.NAME: lock}, lambda f: lockfile.read(f), {}),
        "copy": Target(2, {lockfile.NAME: lock}, lambda f: find_copy(tid, f, f), {"a/a.txt": b""}),
        "unpacked": Target(
            3, {".perceptbench/x/a.zip.json": listing, lockfile.NAME: lock},
            lambda f: verify("x", [archive], f), {},
        ),
        "part": Target(
            2, {"a.part.json": json.dumps(part).encode()},
            lambda f: transfer._known_part("http://x/a", f / "a.part"), {"a.part": b"ab"},
        ),
        "combvd": Target(
            4, dict.fromkeys(FILES.values(), json.dumps(colours).encode()),
            lambda f: combvd(Files(f, "combvd")), {},
        ),
        "material": Target(
            5, {ANSWERS: json.dumps(answers).encode()},
            lambda f: material_appearance(Files(f, "m")),
            {f"{IMAGES}/{i}.jpg": b"" for i in range(3)},
        ),
    }  # fmt: skip


def _parquet(text: str) -> bytes:
    out = io.BytesIO()
    pd.read_csv(io.StringIO(text)).to_parquet(out)
    return out.getvalue()


_RATING = (
    "reference,distorted,quality,std,raters,distortion,level,category,item,pixels_per_degree\n"
    + "".join(f"r{i % 2},d{i},{i / 2},{i / 9},5,k{i % 3},{i % 4},c,{i // 2},30\n" for i in range(8))
)
_2AFC = "reference,a,b,p_b,votes,category,split\n" + "".join(
    f"r{i % 2},a{i},b{i},{i / 8},5,c{i % 2},val\n" for i in range(8)
)
_SAME = "a,b,p_same,votes\n" + "".join(f"a{i},b{i},{i / 8},3\n" for i in range(8))
_SCORES = "reference,distorted,ssim,mse,note\n" + "".join(
    f"r{i % 2},{side}{i},{i / 8},{i * i},x\n" for i in range(8) for side in "dab"
)


def _tables() -> dict[str, Target]:
    from perceptbench.agreement.own_tables import read, read_scores
    from perceptbench.datasets.readers.table import judgement_file
    from perceptbench.spreadsheet import to_csv

    found: dict[str, Target] = {}
    for name, text in {"rating": _RATING, "2afc": _2AFC, "same": _SAME, "scores": _SCORES}.items():
        for kind, data in {"csv": text.encode(), "parquet": _parquet(text)}.items():
            path = f"x.{kind}"

            def call(folder: Path, path: str = path, scores: bool = name == "scores") -> None:
                if scores:
                    read_scores(folder / path)
                else:
                    judgement_file(folder / path).fingerprint()

            found[f"{name}-{kind}"] = Target(4, {path: data}, call, {})
        if name != "scores":
            found[f"agree-{name}"] = Target(
                0.4, {"x.csv": text.encode(), "scores.csv": _SCORES.encode()},
                lambda f: to_csv(read(f / "x.csv", f / "scores.csv").evaluate().table), {},
            )  # fmt: skip
    return found


def _images() -> dict[str, Target]:
    from PIL import Image

    from perceptbench.datasets.images import read_image
    from perceptbench.datasets.prepare import _read

    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 4), dtype=np.uint8)
    image = Image.fromarray(pixels)
    rgb, grey = image.convert("RGB"), image.convert("L")
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "png": (image, {}), "jpg": (rgb, {"exif": exif}), "bmp": (rgb, {}),
        "gif": (grey, {"save_all": True, "append_images": [grey.rotate(90)]}),
        "tif": (rgb, {"compression": "tiff_lzw"}), "webp": (image, {"lossless": True}),
        "tiff": (Image.fromarray(pixels[..., 0].astype(np.uint16)), {}),
    }  # fmt: skip
    found = {}
    for suffix, (picture, options) in kinds.items():
        out = io.BytesIO()
        fmt = {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper())
        picture.save(out, fmt, **options)
        path = f"x.{suffix}"
        found[suffix] = Target(2, {path: out.getvalue()}, lambda f, p=path: read_image(f / p), {})
    out = io.BytesIO()
    np.save(out, np.full((3, 4, 5), 0.5, np.float32))
    found["npy"] = Target(2, {"x.npy": out.getvalue()}, lambda f: read_image(f / "x.npy"), {})
    resized = {"x.png": found["png"].files["x.png"]}
    found["resized"] = Target(1, resized, lambda f: read_image(f / "x.png", 7), {})
    found["prepare"] = Target(1, resized, lambda f: _read(f / "x.png"), {})
    return found


def _archives() -> dict[str, Target]:
    import bz2
    import gzip
    import lzma
    import tarfile

    from perceptbench.datasets.fetch.unpack import Limits, unpack

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as packed:
        for name, kind in (("a/b.txt", tarfile.REGTYPE), ("l", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "a/b.txt", 3 * (kind == tarfile.REGTYPE)
            packed.addfile(info, io.BytesIO(b"abc"))
    tar = out.getvalue()
    contents = {
        "zip": mutations.zipped(["a/b.txt", "c.txt"]), "tar": tar, "gz": gzip.compress(tar),
        "bz2": bz2.compress(tar), "xz": lzma.compress(tar),
    }  # fmt: skip
    if importlib.util.find_spec("backports.zstd"):
        contents["zst"] = importlib.import_module("backports.zstd").compress(tar)
    if importlib.util.find_spec("py7zr"):
        out = io.BytesIO()
        with importlib.import_module("py7zr").SevenZipFile(out, "w") as seven:
            seven.writestr(b"abc" * 50, "a/b.txt")
        contents["7z"] = out.getvalue()
    if importlib.util.find_spec("rarfile"):
        contents["rar"] = beside("test_unpack", Path(__file__).parents[1] / "datasets").rar_bytes(
            {"a/b.txt": b"abc", "c.txt": b"c"}
        )
    limits = Limits(free=10 << 20, members=1000)

    def call(folder: Path) -> None:
        try:
            files = unpack(folder / "x", folder / "out", limits=limits)
            json.dumps(files)
        finally:
            inside = {p.name for p in folder.iterdir()}
            assert inside <= {"x", "out"}, f"left behind: {inside}"
            shutil.rmtree(folder / "out", ignore_errors=True)

    def named(_: bytes, __: str, rng: random.Random) -> bytes:
        names = mutations.archive_names(rng)
        if rng.random() < 0.5:
            return mutations.zipped(names)
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=rng.choice((0, 1, 2))) as packed:
            for name in names:
                info = tarfile.TarInfo(name.replace("\0", "0"))
                info.type = rng.choice(b"0125").to_bytes()
                info.linkname = rng.choice(names).replace("\0", "0")
                try:
                    packed.addfile(info)
                except (ValueError, UnicodeEncodeError):
                    continue  # longer than this kind of header can say
        return out.getvalue()

    found = {kind: Target(1.5, {"x": data}, call, {}) for kind, data in contents.items()}
    found["names"] = Target(2, {"x": b""}, call, {}, named)
    return found


def _weights() -> dict[str, Target]:
    import torch

    from perceptbench.losses.backbones import load_network
    from perceptbench.losses.networks import small_cnn
    from perceptbench.losses.weights import dists_heads, load_head
    from perceptbench.scoring.store import Store

    def saved(what: Any) -> bytes:
        out = io.BytesIO()
        torch.save(what, out)
        return out.getvalue()

    head = saved({"h": torch.ones(1, 5, 1, 1), "other": torch.zeros(2)})
    state = saved(small_cnn().state_dict())
    others: list[Any] = [
        {"h": "text"}, {"h": None}, {"h": [1, 2]}, [torch.ones(3)], torch.ones(3), 5, {},
        {"h": torch.ones(2, 2).to_sparse()}, {"h": torch.tensor([1 + 2j])}, {"h": torch.ones(0)},
        {"h": torch.full((5,), float("nan"))}, {5: torch.ones(2)}, {"h": torch.ones(3).bool()},
        {"alpha": torch.ones(3), "beta": torch.ones(2)}, {"alpha": torch.ones(1475)},
        {key: torch.ones(1) for key in small_cnn().state_dict()},
        {key: "x" for key in small_cnn().state_dict()},
    ]  # fmt: skip
    prepared = [saved(what) for what in others]

    def make(data: bytes, suffix: str, rng: random.Random) -> bytes:
        if rng.random() < 0.2:
            return rng.choice(prepared)
        return mutations.mutate(data, suffix, rng)

    shard = pd.DataFrame({"reference": ["a", "b"], "distorted": ["c", "d"], "id": [0.5, 1.5]})

    def store(folder: Path) -> None:
        import hashlib

        content = (folder / "x.parquet").read_bytes()
        group = folder / "group"
        shutil.rmtree(group, ignore_errors=True)
        group.mkdir()
        name = hashlib.sha256(content).hexdigest()[:32]
        (group / f"{name}.parquet").write_bytes(content)
        kept = Store(str(folder), say=lambda text: None)
        kept.read("group", shard[["reference", "distorted"]], ["id", "other"])
        kept.info()

    def shards() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            kept = Store(folder, say=lambda text: None)
            kept.write("g", "title", shard, {"id": shard["id"].to_numpy()})
            (path,) = (Path(folder) / "g").iterdir()
            return path.read_bytes()

    return {
        "head": Target(2, {"x.pth": head}, lambda f: load_head("x.pth:h", f), {}, make),
        "network": Target(
            3, {"x.pth": state}, lambda f: load_network("small-cnn", f / "x.pth"), {}, make
        ),
        "dists": Target(0.5, {"dists_weights.pt": head}, lambda f: dists_heads(f), {}, make),
        "store": Target(3, {"x.parquet": shards()}, store, {}),
    }  # fmt: skip


def _runs() -> dict[str, Target]:
    from perceptbench.reporting import csv, html, latex, markdown, merge, run_folder

    build = beside("conftest", Path(__file__).parents[1] / "reporting").build_run
    with tempfile.TemporaryDirectory() as folder:
        run_folder.write(build(), Path(folder))
        files = {
            p.relative_to(folder).as_posix(): p.read_bytes()
            for p in Path(folder).rglob("*")
            if p.is_file()
        }

    def report(folder: Path) -> None:
        run = merge.read([folder])
        for form in (csv, markdown, latex, html):
            form.render(run)

    # The record is read most: half of what is spoiled.
    record = {"run.json": files.pop("run.json")}
    return {
        "record": Target(1, record, report, files),
        "folder": Target(1, files, report, record),
    }


def _datasets() -> dict[str, Target]:
    from perceptbench.datasets.load import read_dataset
    from perceptbench.datasets.manifest import find_manifest

    def call(name: str) -> Callable[[Path], None]:
        manifest = find_manifest(name).model_copy(update={"expect": {}})

        def read(folder: Path) -> None:
            read_dataset(manifest, folder, allow_missing=True)

        return read

    found = {}
    for miniature in miniatures.MINIATURES:
        with tempfile.TemporaryDirectory() as folder:
            top = miniatures.build(miniature, Path(folder))
            content = {
                p.relative_to(top).as_posix(): p.read_bytes() for p in top.rglob("*") if p.is_file()
            }
        labels = {path: content.pop(path) for path in miniature.files}
        # A spreadsheet takes 20 ms to open, a MATLAB file 400: it is read in another process.
        slow = {Path(path).suffix for path in labels}
        share = 0.01 if ".mat" in slow else 0.1 if ".xlsx" in slow else 0.3
        found[f"{miniature.dataset}, {miniature.layout}"] = Target(
            share, labels, call(miniature.dataset), content
        )
    return found


def inputs(
    chosen: dict[str, Target], count: int, start: int, worker: int, workers: int
) -> Iterator[tuple[str, int]]:
    """(target, number) of every input of one of several workers; most have one at least."""
    total = sum(target.share for target in chosen.values())
    for name, target in chosen.items():
        part = count * target.share / total
        # Those that take a second each come among many only.
        for number in range(worker, round(part) if target.share <= 0.01 else ceil(part), workers):
            yield name, start + number


def _short(text: str) -> str:
    return "\n".join(line[:200] for line in text.splitlines()[-30:])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="groups or targets; default: all")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--start", type=int, default=0, help="the first number of each target")
    parser.add_argument("--only", type=int, help="one input of one target")
    parser.add_argument("--worker", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--at", type=Path, help="where the input under way is written")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    chosen: dict[str, Target] = {}
    for group, make in targets().items():
        if not given.names or group in given.names:
            chosen |= {f"{group}/{name}": target for name, target in make().items()}
        elif any(name.startswith(f"{group}/") for name in given.names):
            made = {f"{group}/{name}": target for name, target in make().items()}
            chosen |= {name: made[name] for name in made if name in given.names}
    work = (
        [(given.names[0], given.only)]
        if given.only is not None
        else inputs(chosen, given.count, given.start, given.worker, given.workers)
    )
    at = given.at.open("wb", buffering=0) if given.at else None
    failures: dict[str, str] = {}
    done, refused, spent = 0, 0, dict.fromkeys(chosen, 0.0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory(dir=WORK) as top:
        current = ""
        for name, number in work:
            target = chosen[name]
            if name != current:
                current, folder = name, Path(top) / str(done)
                for path, content in {**target.fixed, **target.files}.items():
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    (folder / path).write_bytes(content)
            path, content = target.spoiled(random.Random(f"{name} {number}"))
            (folder / path).write_bytes(content)
            if at:
                at.seek(0)
                at.write(f"{name} {number}".ljust(200).encode())
            signal.setitimer(signal.ITIMER_REAL, HANGS)  # nothing catches it: it ends the process
            start, why = time.process_time(), ""
            try:
                target.call(folder)
            except PerceptbenchError as error:
                refused += 1
                if "\n" in str(error).strip():
                    why = f"an error of more than one line: {str(error)!r:.300}"
            except Exception as error:
                last = traceback.extract_tb(error.__traceback__)
                ours = [f for f in last if "/perceptbench/" in f.filename] or last
                why = f"{type(error).__name__} at {ours[-1].filename}:{ours[-1].lineno}"
                text = traceback.format_exc()
                failures.setdefault(why, f"'{name}' --only {number} ({path})\n{_short(text)}")
            signal.setitimer(signal.ITIMER_REAL, 0)
            took = time.process_time() - start
            spent[name] += took
            now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if took > SLOW:
                why = f"{name} took {took:.1f} s"
            if (now - peak) * 1024 > GREEDY:
                why = f"{name} took {(now - peak) >> 10} MiB"
            peak = max(now, peak)
            if why:
                failures.setdefault(why, f"'{name}' --only {number} ({path})")
            done += 1
            if target.files:
                (folder / path).write_bytes(target.files[path])
            if given.only is not None:
                print(content[:500], why or "is refused or read")
    for why, where in list(failures.items())[:SHOWN]:
        print(f"FAILED {why}\nagain: python tests/fuzz/{Path(__file__).name} {where}\n")
    if "-v" in sys.argv or given.names:
        for name, seconds in sorted(spent.items(), key=lambda item: -item[1])[:12]:
            print(f"{seconds:8.2f} s  {name}")
    print(f"{done} inputs, {refused} refused, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
