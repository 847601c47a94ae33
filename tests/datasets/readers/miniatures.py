"""Miniatures of the public sets: the owners' forms and the mirrors', with tiny images.

One entry a form: the files as the originals have them (names, case, separators, label formats,
sheets, ``.mat``, ``.npy``), and the judgements that must come out. ``files`` maps a path to its
content: text, a dict of variables (``.mat``), a number (``.npy``), rows of cells (``.xlsx``);
``images`` are paths of images. ``rows`` are, by slice and protocol, what the table must hold:
image base names without extension, the judgement, then further columns in the order given.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COLUMNS = {
    "rating": ("reference", "distorted"),
    "2afc": ("reference", "a", "b"),
    "same_different": ("a", "b"),
}


@dataclass(frozen=True)
class Miniature:
    dataset: str
    layout: str
    files: dict[str, Any]
    images: tuple[str, ...]
    rows: dict[str, list[tuple]]
    columns: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.dataset}, {self.layout}"


def build(miniature: Miniature, folder: Path) -> Path:
    """Writes the files and images of a miniature below `folder`."""
    for path, content in miniature.files.items():
        write(folder / path, content)
    for number, path in enumerate(miniature.images):
        image(folder / path, number)
    return folder


def image(path: Path, number: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (number % 256, 90, 200)).save(path)


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix.lower()
    if suffix == ".mat":
        from scipy.io import savemat

        savemat(path, content)
        # Without the time in its header: equal contents are equal files, read once by the reader.
        path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + path.read_bytes()[116:])
    elif suffix == ".npy":
        np.save(path, content)
    elif suffix == ".xlsx":
        sheets(path, content)
    else:
        path.write_text(content, encoding="utf-8")


def sheets(path: Path, content: dict[str, list[list[Any]]]) -> None:
    from openpyxl import Workbook

    book = Workbook()
    book.remove(book.active)
    for name, rows in content.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)


def cells(*texts: str) -> np.ndarray:
    """A MATLAB cell row of texts."""
    array = np.empty((1, len(texts)), dtype=object)
    array[0] = list(texts)
    return array


def column_of_cells(*texts: str) -> np.ndarray:
    return cells(*texts).T


def waterloo(*rows: tuple, extension: str = "bmp") -> str:
    """A label file of the Waterloo mirror; rows: distorted, kind, reference, score."""
    return "dis_img_path,dis_type,ref_img_path,score\n" + "".join(
        f"{d}.{extension},{kind},{r}.{extension},{score}\n" for d, kind, r, score in rows
    )


# -- TID: i25.bmp among I01.BMP, labels in another case than the files ------------------------
TID = [("I01", "i01_01_1", 5.5, 0.1), ("I01", "i01_01_2", 4.5, 0.2),
       ("i25", "i25_15_1", 5.0, 0.3), ("i25", "i25_15_2", 4.0, 0.2)]  # fmt: skip
TID_OWNER = {
    "mos_with_names.txt": "5.5 I01_01_1.bmp\n4.5 i01_01_2.bmp\n"
    "5.0 I25_15_1.bmp\n4.0 I25_15_2.bmp\n",
    "mos_std.txt": "0.1\n0.2\n0.3\n0.2\n",
    "MSSIM.TXT": "0.9\n0.9\n0.9\n0.9\n",
}
TID_IMAGES = (
    "reference_images/I01.BMP", "reference_images/i25.bmp", "distorted_images/i01_01_1.bmp",
    "distorted_images/I01_01_2.bmp", "distorted_images/i25_15_1.bmp",
    "distorted_images/i25_15_2.bmp",
)  # fmt: skip
TID_ROWS = {
    "all/rating": [
        ("i01", "i01_01_1", 5.5, 0.1, "additive Gaussian noise", 1),
        ("i01", "i01_01_2", 4.5, 0.2, "additive Gaussian noise", 2),
        ("i25", "i25_15_1", 5.0, 0.3, "local block-wise", 1),
        ("i25", "i25_15_2", 4.0, 0.2, "local block-wise", 2),
    ]
}
TID_COLUMNS = ("std", "distortion", "level")
TID_NO_STD = {"all/rating": [(*row[:3], *row[4:]) for row in TID_ROWS["all/rating"]]}
MARK13 = "distorted_images/i01_24_5.bmp"


def tid_waterloo(name: str) -> str:
    return waterloo(
        *((f"{name}/distorted_images/{d}", "x", f"{name}/reference_images/{r}", mos)
          for r, d, mos in (("i01", "i01_01_1", 5.5), ("i01", "i01_01_2", 4.5),
                            ("i25", "i25_15_1", 5.0), ("i25", "i25_15_2", 4.0)))
    )  # fmt: skip


LOWER = tuple(path.lower() for path in TID_IMAGES)
TID_MINIATURES = [
    Miniature("tid2013", "owner", TID_OWNER, (*TID_IMAGES, MARK13), TID_ROWS, TID_COLUMNS),
    Miniature("tid2008", "owner", TID_OWNER, TID_IMAGES, TID_ROWS, TID_COLUMNS),
    Miniature(
        "tid2013", "Waterloo", {"TID2013.txt": tid_waterloo("TID2013")},
        tuple(f"TID2013/{path}" for path in LOWER), TID_NO_STD, TID_COLUMNS[1:],
    ),
    Miniature(
        "tid2008", "Waterloo", {"TID2008.txt": tid_waterloo("TID2008")},
        tuple(f"TID2008/{path}" for path in TID_IMAGES), TID_NO_STD, TID_COLUMNS[1:],
    ),
    Miniature(
        "tid2013", "ocampor",
        {"mos.csv": "distorted_image,reference_image,mos\n" + "".join(
            f"distorted_images/{d}.bmp,reference_images/{r}.bmp,{mos}\n" for r, d, mos, _ in TID)},
        (*TID_IMAGES, MARK13), TID_NO_STD, TID_COLUMNS[1:],
    ),
    Miniature(
        "tid2013", "VQMTCrossVal",
        {"TID2013.MOS.csv": "mos,dist_img,var,ref_img,dst_type\n" + "".join(
            f"{mos},{d.upper()}.bmp,{std},{r}.bmp,{d[4:6]}\n" for r, d, mos, std in TID)},
        TID_IMAGES, TID_ROWS, TID_COLUMNS,
    ),
]  # fmt: skip

# -- KADID-10k: dmos is a quality, var a standard deviation -----------------------------------
KADID_IMAGES = ("images/I01.png", "images/I01_01_01.png", "images/I01_25_05.png",
                "images/I81.png", "images/I81_01_01.png", "images/I81_25_05.png")  # fmt: skip
KADID_ROWS = {
    "all/rating": [
        ("i01", "i01_01_01", 4.57, 0.496, "gaussian blur", 1),
        ("i01", "i01_25_05", 1.5, 0.7, "contrast change", 5),
        ("i81", "i81_01_01", 4.2, 0.5, "gaussian blur", 1),
        ("i81", "i81_25_05", 3.1, 0.9, "contrast change", 5),
    ]
}
KADID = [
    Miniature(
        "kadid-10k", "owner",
        {"kadid10k/dmos.csv": "dist_img,ref_img,dmos,var\nI01_01_01.png,I01.png,4.57,0.496\n"
         "I01_25_05.png,I01.png,1.5,0.7\nI81_01_01.png,I81.png,4.2,0.5\n"
         "I81_25_05.png,I81.png,3.1,0.9\n",
         # What macOS leaves in the pyiqa archive.
         "kadid10k/images/._I01.png": "", "kadid10k/.DS_Store": ""},
        tuple(f"kadid10k/{path}" for path in KADID_IMAGES), KADID_ROWS,
        ("std", "distortion", "level"),
    ),
    Miniature(
        "kadid-10k", "Waterloo",
        {"KADID-10k.txt": waterloo(
            *((f"KADID-10k/images/{d}", "x", f"KADID-10k/images/{d[:3]}", mos) for d, mos in (
                ("I01_01_01", 4.57), ("I01_25_05", 1.5), ("I81_01_01", 4.2), ("I81_25_05", 3.1))),
            extension="png")},
        tuple(f"KADID-10k/{path}" for path in KADID_IMAGES),
        {"all/rating": [(*row[:3], *row[4:]) for row in KADID_ROWS["all/rating"]]},
        ("distortion", "level"),
    ),
]  # fmt: skip

# -- CSIQ: three forms of folders; 1600 is a number in the sheet -------------------------------
CSIQ_ROWS = {
    "all/rating": [
        ("1600", "1600.awgn.1", 0.062, "AWGN", 1),
        ("1600", "1600.awgn.2", 0.3, "AWGN", 2),
        ("lady_liberty", "lady_liberty.jpeg2000.1", 0.05, "jpeg2000", 1),
        ("lady_liberty", "lady_liberty.contrast.2", 0.4, "contrast", 2),
    ]
}
CSIQ_NAMES = ("1600.AWGN.1", "1600.AWGN.2", "lady_liberty.jpeg2000.1", "lady_liberty.contrast.2")
CSIQ_SCORES = (0.062, 0.3, 0.05, 0.4)
CSIQ_SOURCES = ("src_imgs/1600.png", "src_imgs/lady_liberty.png")


def csiq_images(folder: dict[str, str]) -> tuple[str, ...]:
    return CSIQ_SOURCES + tuple(
        f"dst_imgs/{folder.get(name.split('.')[1], '')}/{name}.png".replace("//", "/")
        for name in CSIQ_NAMES
    )


LOWER_FOLDERS = {"AWGN": "awgn", "jpeg2000": "jpeg2000", "contrast": "contrast"}
CASED_FOLDERS = {"AWGN": "AWGN", "jpeg2000": "jpeg2000", "contrast": "contrast"}
CSIQ_SHEET = [
    [1600, 1, "noise", 1, 0.0612, 0.062],
    [1600, 1, "noise", 2, 0.07, 0.3],
    ["lady_liberty", 3, "jpeg 2000", 1, 0.08, 0.05],
    ["lady_liberty", 6, "contrast", 2, 0.09, 0.4],
]
CSIQ_HEADER = ["image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"]
CSIQ_LABELS = "".join(f"{n}.png {s}\n" for n, s in zip(CSIQ_NAMES, CSIQ_SCORES, strict=True))
CSIQ = [
    Miniature(
        "csiq", "owner",
        {"csiq.DMOS.xlsx": {
            "all_by_image": [["CSIQ"], ["x"], [None], [None] * 3 + CSIQ_HEADER,
                             *([None] * 3 + row for row in CSIQ_SHEET), *([[None] * 9] * 3)],
            "all_by_distortion": [["#REF!"]]}},
        csiq_images(LOWER_FOLDERS),
        {"all/rating": [(*row[:3], std, *row[3:]) for row, std in zip(
            CSIQ_ROWS["all/rating"], (0.0612, 0.07, 0.08, 0.09), strict=True)]},
        ("std", "distortion", "level"),
    ),
    Miniature("csiq", "pyiqa", {"CSIQ/csiq_label.txt": CSIQ_LABELS},
              tuple(f"CSIQ/{path}" for path in csiq_images({})), CSIQ_ROWS,
              ("distortion", "level")),
    Miniature(
        "csiq", "Waterloo",
        {"CSIQ.txt": waterloo(*((f"CSIQ/dst_imgs/{n.split('.')[1]}/{n}", "x",
                                 f"CSIQ/src_imgs/{n.split('.')[0]}", s)
                                for n, s in zip(CSIQ_NAMES, CSIQ_SCORES, strict=True)),
                              extension="png")},
        tuple(f"CSIQ/{path}" for path in csiq_images(CASED_FOLDERS)), CSIQ_ROWS,
        ("distortion", "level"),
    ),
    Miniature(
        "csiq", "VQMTCrossVal",
        {"csiq.DMOS.csv": ",".join(CSIQ_HEADER) + "\n" + "".join(
            ",".join(f'"{c}"'.replace(".", ",") for c in row) + "\n" for row in CSIQ_SHEET)},
        csiq_images(LOWER_FOLDERS), CSIQ_ROWS, ("distortion", "level"),
    ),
]  # fmt: skip

# -- LIVE: orgs rows dropped, two label sets ---------------------------------------------------
LIVE_FOLDERS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
LIVE_DIST = [f"{f}/img{i}.bmp" for f, n in LIVE_FOLDERS.items() for i in range(1, n + 1)]
# Three images are judged here, in three folders; all others are marked as copies of references.
LIVE_JUDGED = {"jp2k/img2.bmp": (15.5, 20.0), "jpeg/img1.bmp": (60.5, 55.0),
               "fastfading/img174.bmp": (90.25, 80.0)}  # fmt: skip
LIVE_ORGS = np.array([[0 if d in LIVE_JUDGED else 1 for d in LIVE_DIST]], dtype=np.uint8)
LIVE_REFS = cells(*("cemetry.bmp" if d.startswith("jp") else "bikes.bmp" for d in LIVE_DIST))
LIVE_IMAGES = ("refimgs/cemetry.bmp", "refimgs/bikes.bmp", *LIVE_JUDGED)


def live_rows(column: int, std: float | None = None) -> list[tuple]:
    more = () if std is None else (std,)
    return [
        ("cemetry", "img2", LIVE_JUDGED["jp2k/img2.bmp"][column], *more, "jp2k"),
        ("cemetry", "img1", LIVE_JUDGED["jpeg/img1.bmp"][column], *more, "jpeg"),
        ("bikes", "img174", LIVE_JUDGED["fastfading/img174.bmp"][column], *more, "fastfading"),
    ]


def live_scores(column: int) -> np.ndarray:
    return np.array([[LIVE_JUDGED.get(d, (0.0, 0.0))[column] for d in LIVE_DIST]])


LIVE_REALIGNED = {"dmos_new": live_scores(0), "dmos_std": np.full((1, 982), 1.5),
                  "orgs": LIVE_ORGS}  # fmt: skip
LIVE = [
    Miniature(
        "live", "owner",
        {"databaserelease2/refnames_all.mat": {"refnames_all": LIVE_REFS},
         "databaserelease2/dmos.mat": {"dmos": live_scores(1), "orgs": LIVE_ORGS},
         "dmos_realigned.mat": LIVE_REALIGNED},
        tuple(f"databaserelease2/{path}" for path in LIVE_IMAGES),
        {"dmos/rating": live_rows(1), "realigned/rating": live_rows(0)}, ("distortion",),
    ),
    Miniature(
        "live", "owner",  # the zip alone, in the folder that the pyiqa archive has
        {"LIVEIQA_release2/refnames_all.mat": {"refnames_all": LIVE_REFS},
         "LIVEIQA_release2/dmos.mat": {"dmos": live_scores(1), "orgs": LIVE_ORGS}},
        tuple(f"LIVEIQA_release2/{path}" for path in LIVE_IMAGES),
        {"dmos/rating": live_rows(1)}, ("distortion",),
    ),
    Miniature(
        "live", "Waterloo",
        {"LIVE.txt": waterloo(*((f"LIVE/{d[:-4]}", d.split("/")[0], f"LIVE/refimgs/{r}", s)
                                for d, r, s in (("jp2k/img2.bmp", "cemetry", 15.5),
                                                ("jpeg/img1.bmp", "cemetry", 60.5),
                                                ("fastfading/img174.bmp", "bikes", 90.25))))},
        tuple(f"LIVE/{path}" for path in LIVE_IMAGES), {"realigned/rating": live_rows(0)},
        ("distortion",),
    ),
    Miniature(
        "live", "ocampor",
        {"live/dmos.csv": "distortion,index,distorted_path,reference_path,dmos,dmos_realigned,"
         "dmos_realigned_std\njp2k,2,jp2k/img2.bmp,refimgs/cemetry.bmp,20,15.5,1.5\n"
         "jpeg,1,jpeg/img1.bmp,refimgs/cemetry.bmp,55,60.5,1.5\n"
         "fastfading,174,fastfading/img174.bmp,refimgs/bikes.bmp,80,90.25,1.5\n"},
        tuple(f"live/{path}" for path in LIVE_IMAGES),
        {"dmos/rating": live_rows(1), "realigned/rating": live_rows(0)}, ("distortion",),
    ),
    Miniature(
        "live", "VQMTCrossVal",
        {"LIVE2.DMOS.csv": "refnames_all,orgs,dist_img,dst_type,dmos_std,dmos_new\n"
         "cemetry.bmp,0,img2.bmp,jp2k,1.5,15.5\ncemetry.bmp,1,img3.bmp,jp2k,1.5,0\n"
         "cemetry.bmp,0,img1.bmp,jpeg,1.5,60.5\nbikes.bmp,0,img174.bmp,fastfading,1.5,90.25\n"},
        LIVE_IMAGES, {"realigned/rating": live_rows(0, 1.5)}, ("std", "distortion"),
    ),
]  # fmt: skip

# -- LIVE-MD: a space in the folders, base names used twice ------------------------------------
LIVE_MD_ROWS = {
    "all/rating": [
        ("baby", "baby_blur1", 20.5), ("baby", "baby_blur1_jpeg2", 40.0),
        ("baby", "baby_blur1", 31.0), ("baby", "baby_noise3", 55.0),
    ]
}  # fmt: skip
LIVE_MD = [
    Miniature(
        "live-md", "owner",
        {f"LIVEmultidistortiondatabase/{part}/{name}": content for part, one, two, scores in (
            ("Part 1", "baby_blur1.bmp", "baby_blur1_jpeg2.bmp", (20.5, 40.0)),
            ("Part 2", "baby_blur1.bmp", "baby_noise3.bmp", (31.0, 55.0)))
         for name, content in (
            ("Imagelists.mat", {"distimgs": column_of_cells(one, two),
                                "refimgs": column_of_cells("baby.bmp")}),
            ("Scores.mat", {"DMOSscores": np.array([scores])}))},
        tuple(f"LIVEmultidistortiondatabase/{folder}/baby{name}.bmp" for folder, names in (
            ("Part 1/blurjpeg", ("", "_blur1", "_blur1_jpeg2")),
            ("Part 2/blurnoise", ("", "_blur1", "_noise3"))) for name in names),
        {"all/rating": [(*row, kind) for row, kind in zip(
            LIVE_MD_ROWS["all/rating"], ("blur", "blur+jpeg", "blur", "noise"), strict=True)]},
        ("distortion",),
    ),
    Miniature(
        "live-md", "Waterloo",
        {"LIVE_MD.txt": waterloo(*((f"LIVE_MD/To_Release/{d}", "Multiply Dist.",
                                    "LIVE_MD/To_Release/Ref_Images/baby", s) for d, s in (
            ("Part_1/blurjpeg/baby_blur1", 20.5), ("Part_1/blurjpeg/baby_blur1_jpeg2", 40),
            ("Part_2/blurnoise/baby_blur1", 31), ("Part_2/blurnoise/baby_noise3", 55))))},
        tuple(f"LIVE_MD/To_Release/{path}.bmp" for path in (
            "Ref_Images/baby", "Part_1/blurjpeg/baby_blur1", "Part_1/blurjpeg/baby_blur1_jpeg2",
            "Part_2/blurnoise/baby_blur1", "Part_2/blurnoise/baby_noise3")),
        LIVE_MD_ROWS,
    ),
]  # fmt: skip

# -- PIPAL ------------------------------------------------------------------------------------
PIPAL_LABELS = {
    "A0001.txt": "A0001_00_00.bmp,1520.0648\nA0001_06_03.bmp,1300.5\n",
    "A0003.txt": "A0003_02_01.bmp,1444.25\n",
}
PIPAL_ROWS = [("a0001", "a0001_00_00", 1520.0648, "00"), ("a0001", "a0001_06_03", 1300.5, "06"),
              ("a0003", "a0003_02_01", 1444.25, "02")]  # fmt: skip
PIPAL = [
    Miniature(
        "pipal", "owner", {f"Train_Label/{n}": text for n, text in PIPAL_LABELS.items()},
        ("Train_Ref/A0001.bmp", "Train_Ref/A0003.bmp", "Distortion_1/A0001_00_00.bmp",
         "Distortion_4/A0001_06_03.bmp", "Distortion_2/A0003_02_01.bmp"),
        {"all/rating": PIPAL_ROWS}, ("distortion",),
    ),
    Miniature(
        "pipal", "owner",  # as pyiqa packs it, with the validation set
        {**{f"PIPAL/Train_Label/{n}": text for n, text in PIPAL_LABELS.items()},
         "PIPAL/val_label.txt": "A0002_00_00.bmp,1400.5\n"},
        ("PIPAL/Train_Ref/A0001.bmp", "PIPAL/Train_Ref/A0003.bmp", "PIPAL/Val_Ref/A0002.bmp",
         "PIPAL/Dist_Imgs/A0001_00_00.bmp", "PIPAL/Dist_Imgs/A0001_06_03.bmp",
         "PIPAL/Dist_Imgs/A0003_02_01.bmp", "PIPAL/Val_Dist/A0002_00_00.bmp"),
        {"all/rating": PIPAL_ROWS, "valid/rating": [("a0002", "a0002_00_00", 1400.5, "00")]},
        ("distortion",),
    ),
    Miniature(
        "pipal", "owner, older names",
        {f"MOS_Scores_train/{n}": text for n, text in PIPAL_LABELS.items()},
        ("Reference_train/A0001.bmp", "Reference_train/A0003.bmp",
         "Distortion/Distortion_1/A0001_00_00.bmp", "Distortion/Distortion_4/A0001_06_03.bmp",
         "Distortion/Distortion_2/A0003_02_01.bmp"),
        {"all/rating": PIPAL_ROWS}, ("distortion",),
    ),
    Miniature(
        "pipal", "Waterloo",
        {"PIPAL.txt": waterloo(*((f"PIPAL/Dist/{d.upper()}", "x", f"PIPAL/Train_Ref/{r.upper()}", s)
                                 for r, d, s, _ in PIPAL_ROWS))},
        ("PIPAL/Train_Ref/A0001.bmp", "PIPAL/Train_Ref/A0003.bmp", "PIPAL/Dist/A0001_00_00.bmp",
         "PIPAL/Dist/A0001_06_03.bmp", "PIPAL/Dist/A0003_02_01.bmp"),
        {"all/rating": PIPAL_ROWS}, ("distortion",),
    ),
]  # fmt: skip


# -- BAPPS ------------------------------------------------------------------------------------
def bapps_files(root: str, split: str, judged: dict[str, list[float]]) -> dict[str, Any]:
    return {
        f"{root}{split}/{subset}/judge/{i:06d}.npy": np.array([share], dtype=np.float32)
        for subset, shares in judged.items() for i, share in enumerate(shares)
    }  # fmt: skip


def bapps_images(root: str, split: str, judged: dict[str, list[float]]) -> tuple[str, ...]:
    return tuple(
        f"{root}{split}/{subset}/{side}/{i:06d}.png"
        for subset, shares in judged.items() for side in ("ref", "p0", "p1")
        for i in range(len(shares))
    )  # fmt: skip


def bapps_rows(judged: dict[str, list[float]], votes: int) -> dict[str, list[tuple]]:
    by_subset = {
        subset: [(*[f"{i:06d}"] * 3, share, votes, subset)
                           for i, share in enumerate(shares)]
        for subset, shares in judged.items()
    }  # fmt: skip
    pooled = [row for key in sorted(by_subset) for row in by_subset[key]]
    return {"all/2afc": pooled}


VAL = {"traditional": [0.2, 1.0, 0.0], "cnn": [0.6]}
TRAIN = {"traditional": [0.5], "cnn": [1.0], "mix": [0.0, 0.5]}
SAME = {"jnd/val/traditional/same/000000.npy": np.array(1 / 3),
        "jnd/val/traditional/same/000001.npy": np.array([1.0]),
        "jnd/val/cnn/same/000000.npy": np.array([[2 / 3]])}  # fmt: skip
SAME_IMAGES = tuple(
    path.replace("/same/", f"/{side}/").replace(".npy", ".png")
    for path in SAME for side in ("p0", "p1")
)  # fmt: skip
BAPPS = [
    Miniature("bapps-val", "2afc/val/SUBSET/judge", bapps_files(root, "val", VAL),
              bapps_images(root, "val", VAL), bapps_rows(VAL, 5), ("votes", "category"))
    for root in ("2afc/", "PerceptualSimilarity/dataset/2afc/", "")
] + [
    Miniature("bapps-train", "2afc/train/SUBSET/judge",
              # Both splits side by side, as the owner's script leaves them.
              {**bapps_files("2afc/", "train", TRAIN), **bapps_files("2afc/", "val", VAL)},
              bapps_images("2afc/", "train", TRAIN), bapps_rows(TRAIN, 2), ("votes", "category")),
    Miniature("bapps-jnd", "jnd/val/SUBSET/same", SAME, SAME_IMAGES, {
        "all/same_different": [("000000", "000000", 2 / 3, 3), ("000000", "000000", 1 / 3, 3),
                               ("000001", "000001", 1.0, 3)],
    }, ("votes",)),
]  # fmt: skip

# -- NIGHTS: columns by name, votes -----------------------------------------------------------
NIGHTS_IMAGES = tuple(
    f"nights/{path}.png" for n in ("000", "007", "123", "124")
    for path in (f"ref/000/{n}", f"distort/000/{n}_0", f"distort/000/{n}_1")
)  # fmt: skip


def night(number: str, right: int, votes: int, split: str, imagenet: bool) -> dict[str, Any]:
    return {
        "id": int(number), "left_vote": 1 - right, "right_vote": right, "votes": votes,
        "ref_path": f"ref/000/{number}.png", "left_path": f"distort/000/{number}_0.png",
        "right_path": f"distort/000/{number}_1.png", "split": split, "is_imagenet": imagenet,
        "prompt": "a photo, of a dog",
    }  # fmt: skip


NIGHTS_ROWS = [
    night("000", 1, 8, "train", True), night("007", 0, 6, "val", False),
    night("123", 1, 7, "test", True), night("124", 0, 6, "test", False),
    night("125", 1, 5, "test", False),  # five votes: left out, and so its images may be missing
]  # fmt: skip


def nights_csv(order: list[str]) -> str:
    lines = [",".join(order)]
    lines += [",".join(f'"{row[c]}"' for c in order) for row in NIGHTS_ROWS]
    return "\n".join(lines) + "\n"


def nights_row(number: str, p_b: float, votes: int, half: str) -> tuple:
    return (number, f"{number}_0", f"{number}_1", p_b, votes, half)


NIGHTS_OUT = {
    "train/2afc": [nights_row("000", 1, 8, "imagenet")],
    "val/2afc": [nights_row("007", 0, 6, "no_imagenet")],
    "test/2afc": [nights_row("123", 1, 7, "imagenet"), nights_row("124", 0, 6, "no_imagenet")],
}
NIGHTS = [
    Miniature("nights", "owner", {"nights/data.csv": nights_csv(order)}, NIGHTS_IMAGES, NIGHTS_OUT,
              ("votes", "category"))
    for order in (list(NIGHTS_ROWS[0]), sorted(NIGHTS_ROWS[0]))
]  # fmt: skip

# -- PieAPP: leading spaces, the reference as one of the images --------------------------------
PIEAPP = [
    Miniature(
        "pieapp", "owner",
        {"labels/test/ref_7_pairwise_labels.csv":
         "ref. image, distorted image A, distorted image B, preference for A\n"
         "ref_7.png, distort_7_blur_inter_0.png, distort_7_jpeg_inter_1.png, 0.25\n"
         "ref_7.png, ref_7.png, distort_7_jpeg_inter_1.png, 0.975\n",
         "labels/test/ref_7_per_image_score.csv":
         "ref. image, distorted image, score for distorted image\n"
         "ref_7.png, distort_7_blur_inter_0.png, 2.5\nref_7.png, distort_7_jpeg_inter_1.png, 1.25\n"
         "ref_7.png, distort_7_jpeg_inter_1.png, 1.25\nref_7.png, ref_7.png, 0\n",
         "labels/train/ref_1_pairwise_labels.csv":
         "ref. image, distorted image A, distorted image B, raw preference for A,"
         " processed preference for A\n"
         "ref_1.png, distort_1_blur_inter_0.png, distort_1_jpeg_inter_1.png, , 0.75\n"},
        ("reference_images/test/ref_7.png", "reference_images/train/ref_1.png",
         "distorted_images/test/ref_7/distort_7_blur_inter_0.png",
         "distorted_images/test/ref_7/distort_7_jpeg_inter_1.png",
         "distorted_images/train/ref_1/distort_1_blur_inter_0.png",
         "distorted_images/train/ref_1/distort_1_jpeg_inter_1.png"),
        {"train/2afc": [("ref_1", "distort_1_blur_inter_0", "distort_1_jpeg_inter_1", 0.25)],
         "test/2afc": [("ref_7", "distort_7_blur_inter_0", "distort_7_jpeg_inter_1", 0.75),
                       ("ref_7", "ref_7", "distort_7_jpeg_inter_1", 1 - 0.975)],
         "test/rating": [("ref_7", "distort_7_blur_inter_0", 2.5),
                         ("ref_7", "distort_7_jpeg_inter_1", 1.25)]},
    )
]  # fmt: skip

# -- CLIC: duplicates, the last row of a triplet counts -----------------------------------------
CLIC_CSV = (
    "o1.png,a1.png,b1.png,0\no1.png,a1.png,b1.png,1\n"
    "o1.png,b1.png,a1.png,0\no2.png,a2.png,a2.png,1\n"
)
CLIC_OUT = {
    "all/2afc": [("o1", "a1", "b1", 1), ("o1", "b1", "a1", 0), ("o2", "a2", "a2", 1)],
    "rows/2afc": [("o1", "a1", "b1", 0), ("o1", "a1", "b1", 1), ("o1", "b1", "a1", 0),
                  ("o2", "a2", "a2", 1)],
}  # fmt: skip
CLIC_IMAGES = ("o1.png", "a1.png", "b1.png", "o2.png", "a2.png")
CLIC = [
    Miniature("clic2021-valid", "owner", {"clic_2021_perceptual_valid/oracle.csv": CLIC_CSV,
              "clic_2021_perceptual_valid/validation.csv": "o1.png,a1.png,b1.png\n"},
              tuple(f"clic_2021_perceptual_valid/{path}" for path in CLIC_IMAGES), CLIC_OUT),
    Miniature("clic2021-test", "owner", {"clic_2021_perceptual_oracle.csv": CLIC_CSV},
              tuple(f"{path[1]}/{path}" for path in CLIC_IMAGES), CLIC_OUT),
]  # fmt: skip

# -- CID22, JPEG AIC, KonJND --------------------------------------------------------------------
RATINGS = "[30, 40, 50, 60, 70]"
COMPRESSION = [
    Miniature(
        "cid22", "owner",
        {"CID22_validation_set/CID22_validation_set.csv":
         "reference_img,distorted_img,encoder,setting,bpp,MCOS,RMOS,Elo,nb_pc_opinions\n"
         "original/1.png,original/1.png,Reference,,24,90.5,90,1900,100\n"
         "original/1.png,compressed/1/aom_q30.png,aom,q30,0.5,61.5,60,1500,31\n"},
        ("CID22_validation_set/original/1.png", "CID22_validation_set/compressed/1/aom_q30.png"),
        {"all/rating": [("1", "aom_q30", 61.5, 31, "aom")]}, ("raters", "distortion"),
    ),
    Miniature(
        "aic-3", "owner",
        {"decoded/info.csv": "score.jnd,codec,img.number,img.name,quality,quality.selected,method\n"
         "-0.25,AVIF,1,00001_1192x832,1,20,subjective\n,,,,,,\n"
         "-0.75,JXL,1,00001_1192x832,2,25,estimated\n"},
        ("original/00001_1192x832.png", "decoded/00001_1192x832/AVIF_00001_1192x832_1.png"),
        {"all/rating": [("00001_1192x832", "avif_00001_1192x832_1", -0.25, "AVIF")]},
        ("distortion",),
    ),
    Miniature(
        "aic-4", "owner",
        {"JPEG_AIC_reconstructed_jnd_scores.csv":
         "img_num,codec,dlevel,img_source,img_distorted,distortion,CI_min,CI_max\n"
         "2,1,1,PTC_00002_0ref_00.png,PTC_00002_AVIF_01.png,0.12031473,0.09,0.14\n"
         "2,1,2,PTC_00002_0ref_00.png,PTC_00002_AVIF_02.png,0.7,0.6,0.8\n"
         "2,2,10,PTC_00002_0ref_00.png,PTC_00002_JPEG-1_10.png,1.99,1.8,2.1\n"},
        tuple(f"JPEG_AIC-4_Sample_Dataset/PTC_images/00002/PTC_00002_{name}.png"
              for name in ("0ref_00", "AVIF_01", "AVIF_02", "JPEG-1_10")),
        {"all/rating": [("ptc_00002_0ref_00", "ptc_00002_avif_01", 0.12031473, "AVIF", 1),
                        ("ptc_00002_0ref_00", "ptc_00002_avif_02", 0.7, "AVIF", 2),
                        ("ptc_00002_0ref_00", "ptc_00002_jpeg-1_10", 1.99, "JPEG 1", 10)]},
        ("distortion", "level"),
    ),
    Miniature(
        "konjnd-1k", "owner",
        {"KonJND-1k/subjective_ratings.csv":
         "image_id,Compression type,No. of ratings,mean,std,ratings\n"
         f'SRC0001.png,JPEG,5,50,15.8,"{RATINGS}"\nSRC0002.png,BPG,5,30,2,"{RATINGS}"\n'},
        ("KonJND-1k/source_image/SRC0001.png",
         *(f"KonJND-1k/jpeg/SRC0001_JPEG_{q:03d}.jpg" for q in (34, 42, 50, 58, 66))),
        {"jpeg/same_different": [("src0001", f"src0001_jpeg_{q:03d}", share, 5) for q, share in (
            (34, 0.2), (42, 0.4), (50, 0.4), (58, 0.6), (66, 0.8))]}, ("votes",),
    ),
]  # fmt: skip


# -- Sets of which the Waterloo mirror's form is known -------------------------------------------
def mirrored(dataset: str, label: str, rows: list[tuple], columns: tuple[str, ...] = (),
             more: tuple[tuple, ...] = (), layout: str = "Waterloo") -> Miniature:  # fmt: skip
    """Rows: distorted, reference (paths), score, further columns; `more`: rows left out."""
    kinds = [row[3] if columns and columns[0] == "distortion" else "x" for row in rows]
    lines = [(d, kind, r, s) for (d, r, s, *_), kind in zip(rows, kinds, strict=True)]
    return Miniature(
        dataset, layout, {f"{label}.txt": waterloo(*more, *lines)},
        tuple(sorted({f"{path}.bmp" for d, r, *_ in rows for path in (d, r)})),
        {"all/rating": [(r.split("/")[-1].lower(), d.split("/")[-1].lower(), float(s), *rest)
                        for d, r, s, *rest in rows]}, columns,
    )  # fmt: skip


CIDIQ = {50: [("a", 6.5), ("b", 3.25)], 100: [("a", 7.5), ("b", 4.0)]}


def cid_iq(layout: str, *distances: int) -> Miniature:
    name = "Images/Reproduction/1_JPEG2000_Compression/final01_d1_l{}"
    top = "CIDIQ_MOS50" if 50 in distances else "CIDIQ_MOS100"
    scores = {50: (6.5, 3.25), 100: (7.5, 4.0)}
    return Miniature(
        "cid-iq", layout,
        {f"CIDIQ_MOS{cm}.txt": waterloo(*((f"CIDIQ_MOS{cm}/{name.format(i)}", "JP2K",
                                           f"CIDIQ_MOS{cm}/Images/Original/final01", s)
                                          for i, s in enumerate(scores[cm], 1)))
         for cm in distances},
        tuple(f"{top}/{path}.bmp" for path in ("Images/Original/final01", name.format(1),
                                               name.format(2))),
        {f"{cm}cm/rating": [("final01", f"final01_d1_l{i}", s, "JP2K", i)
                            for i, s in enumerate(scores[cm], 1)] for cm in distances},
        ("distortion", "level"),
    )  # fmt: skip


MIRRORED = [
    cid_iq("Waterloo, both distances", 50, 100),
    cid_iq("Waterloo, 50 cm", 50),
    cid_iq("Waterloo, 100 cm", 100),
    mirrored("mdid", "MDID2016", [
        ("MDID2016/distortion_images/img12_40", "MDID2016/reference_images/img12", 1.5871),
        ("MDID2016/distortion_images/img13_01", "MDID2016/reference_images/img13", 0.3607)]),
    mirrored("vcl-fer", "VCLFER", [
        ("VCLFER/vcl_fer/IMG_04_BLU_5", "VCLFER/Ref_Images/IMG_04", 14.7511, "GBLUR", 5),
        ("VCLFER/vcl_fer/IMG_04_AWGN_1", "VCLFER/Ref_Images/IMG_04", 80.5, "AWGN", 1)],
        ("distortion", "level")),
    mirrored("toyama", "Toyama", [
        ("Toyama/jpeg2000/kp01_12_jp2", "Toyama/ref_imgs/kp01", "4.63 ", "JP2K"),
        ("Toyama/jpeg/kp01_79_jpg", "Toyama/ref_imgs/kp01", "4.75 ", "JPEG")], ("distortion",),
        more=(("Toyama/jpeg2000/kp01_00_jp2", "Reference", "Toyama/ref_imgs/kp01", "4.69 "),
              ("Toyama/jpeg/kp01", "Reference", "Toyama/ref_imgs/kp01", "4.69 "))),
    mirrored("a57", "A57", [
        ("A57/images/dst_imgs/horse/A/horse.FLT", "A57/images/src_imgs/horse", 0.525, "FLT", "A"),
        ("A57/images/dst_imgs/horse/B/horse.FLT", "A57/images/src_imgs/horse", 0.681, "FLT", "B"),
        ("A57/images/dst_imgs/horse/C/horse.FLT", "A57/images/src_imgs/horse", 0.979, "FLT", "C")],
        ("distortion", "level")),
    mirrored("mdid2013", "MDID2013", [
        ("MDID2013/MDID2013/img001", "MDID2013/Ref/org001", 0.4),
        ("MDID2013/MDID2013/img002", "MDID2013/Ref/org001", 0.5)]),
    mirrored("mdivl", "MDIVL", [
        ("MDIVL/MDIVL/Data_Blur_JPEG/im1", "MDIVL/ref/im", 40.5),
        ("MDIVL/MDIVL/Data_Noise_JPEG/im2", "MDIVL/ref/im", 50.5)]),
    mirrored("sdivl", "SDIVL", [
        ("SDIVL/SDIVL/noise/one/im1", "SDIVL/ref/one", 40.5),
        ("SDIVL/SDIVL/jpeg/one/im1", "SDIVL/ref/one", 50.5)]),
]  # fmt: skip

MINIATURES = [
    *TID_MINIATURES, *KADID, *CSIQ, *LIVE, *LIVE_MD, *PIPAL, *BAPPS, *NIGHTS, *PIEAPP, *CLIC,
    *COMPRESSION, *MIRRORED,
]  # fmt: skip
