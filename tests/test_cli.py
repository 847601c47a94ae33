"""The command line as people use it: what it prints, and the exit code."""

import gc
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image


def rejected(answer, code, *words):
    got, output, errors = answer
    assert got == code and "Traceback" not in output + errors
    assert all(word in errors for word in words), errors


def table(folder, name="mine.csv", **columns):
    default = {"reference": ["ref.png"], "a": ["a.png"], "b": ["b.png"], "p_b": [0.2]}
    pd.DataFrame({**default, **columns}).to_csv(folder / name, index=False)
    return folder / name


def test_agree_help_and_lists_import_no_torch(tmp_path):
    """In one process of their own: what reads tables needs no image library either."""
    (tmp_path / "mos.csv").write_text(
        "reference,distorted,quality\n" + "".join(f"r{i % 3},d{i},{i}\n" for i in range(9))
    )
    (tmp_path / "scores.csv").write_text(
        "reference,distorted,m\n" + "".join(f"r{i % 3},d{i},{i * i}\n" for i in range(9))
    )
    lines = (
        ["agree", "--judgements", "mos.csv", "--scores", "scores.csv"],
        ["--help"],
        ["run", "-h"],
        ["compare", "-h"],
        ["datasets", "list"],
        ["metrics", "list"],
    )
    code = (
        "import sys\n"
        "from perceptbench.cli import main\n"
        f"for line in {lines!r}:\n"
        "    sys.argv = ['perceptbench', *line]\n"
        "    try: main()\n    except SystemExit as e: assert not e.code, line\n"
        "    assert line[0] != 'agree' or 'PIL' not in sys.modules\n"
        "    assert 'torch' not in sys.modules, f'torch was imported by {line}'\n"
        "from perceptbench.metrics import adapters\n"
        "for library in adapters.LIBRARIES: adapters.described(library)\n"
        "bad = {'torch', 'piq', 'torchmetrics', 'pyiqa', 'lpips', 'dreamsim', 'pycvvdp'}\n"
        "assert not bad & set(sys.modules), bad & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=60)


def test_lists_name_what_there_is(cli):
    code, output, _ = cli("datasets", "list")
    assert code == 0
    for words in (("modelfest", "120ppd/2afc 861", "embedded"), ("combvd", "35,168", "download")):
        assert any(all(w in line for w in words) for line in output.splitlines())
    code, output, _ = cli("metrics", "list")
    assert code == 0
    lines = {line.split("|")[1].strip(): line for line in output.splitlines()}
    assert " yes " in lines["lpips-alex"] and " yes " not in lines["lpips-vgg"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run", "model-fest"], ["no dataset 'model-fest'", "did you mean modelfest"]),
        (["run", "-m", "lpips-alx"], ["no metric 'lpips-alx'", "did you mean lpips-alex"]),
        (["run", "-m", "none.toml"], ["none.toml: there is no such loss file"]),
        (["run", "--data-dir", "nowhere"], ["nowhere"]),
        (["run", "--weights-dir", "nowhere"], ["nowhere"]),
        (["run", "--judgements", "none.csv"], ["judgement file none.csv does not exist"]),
        (["run", "--device", "abacus", "macadam-osa"], ["device 'abacus' cannot be used"]),
        (["run", "--margin", "0"], ["--margin"]),
        (["run", "material-appearance"], ["--data-dir is needed", "github.com/mlagunas"]),
        (["rnu"], ["rnu"]),
    ],
)
def test_wrong_usage_is_one_sentence_and_code_2(cli, tmp_path, args, words):
    rejected(cli(*args), 2, *words)
    assert not (tmp_path / "cwd" / "runs").exists() or "abacus" in args


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"p_b": [1.5]}, ["row 1: `p_b` is '1.5'", "between 0 and 1"]),
        ({"a": [None]}, ["row 1 has no image in column `a`"]),
        ({"reference": [], "a": [], "b": [], "p_b": []}, ["the table has no rows"]),
    ],
)
def test_wrong_judgements_are_one_sentence_and_code_1(cli, images, columns, words):
    file = table(images, **columns)
    rejected(cli("run", "--judgements", file, "-m", "mse"), 1, str(file), *words)


def test_a_missing_column_is_named(cli, images):
    file = images / "mine.csv"
    file.write_text("reference,a,p_b\nref.png,a.png,1\n")
    rejected(cli("run", "--judgements", file, "-m", "mse"), 1, "column `b` is missing")


def test_pairs_that_fail_are_named_the_rest_is_ranked_and_the_code_says_so(cli, images, tmp_path):
    (images / "text.png").write_text("no image")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(images / "small.png")
    file = table(
        images, reference=["ref.png"] * 3, a=["a.png"] * 3, b=["b.png", "text.png", "small.png"],
        p_b=[0.2, 0.5, 0.5],
    )  # fmt: skip
    out = tmp_path / "out"
    code, output, errors = cli("run", "--judgements", file, "-m", "mse", "-o", out)
    assert code == 1 and "2 pairs failed" in errors
    assert "pair (ref.png, text.png)" in output and "cannot be read as an image" in output
    assert "pair (ref.png, small.png): the images differ in size" in output
    agreement = pd.read_csv(out / "agreement.csv")
    assert set(agreement[(agreement.metric == "mse") & agreement.value.notna()].n) == {1}


def test_judgements_of_same_or_different_are_ranked_in_a_folder_below_runs(cli, images, tmp_path):
    file = images / "jnd.csv"
    pd.DataFrame({"a": ["ref.png"] * 2, "b": ["a.png", "b.png"], "p_same": [0.9, 0.1]}).to_csv(
        file, index=False
    )
    code, output, _ = cli("run", "--judgements", file, "-m", "mse")
    assert code == 0 and "jnd jnd_ap" in output
    (folder,) = (tmp_path / "cwd" / "runs").iterdir()
    assert f"Written to {folder.relative_to(tmp_path / 'cwd')}" in output
    assert (folder / "run.json").is_file()
    found = pd.read_csv(folder / "agreement.csv").set_index(["metric", "statistic"])
    # Recall .9 at precision .9, then recall 1 at precision .5.
    assert found.value["mse", "jnd_ap"] == pytest.approx(0.9 * 0.9 + 0.1 * 0.5)


def test_interrupting_is_code_130(cli, monkeypatch):
    def stop(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("perceptbench.run.run", stop)
    rejected(cli("run", "macadam-osa", "-m", "mse"), 130, "interrupted")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_within_a_destructor_is_not_lost(cli, monkeypatch, number, code):
    class Dying:
        def __del__(self):
            signal.raise_signal(number)
            time.sleep(0.001)  # here the handler raises

    began = []

    def stop(*args, **options):
        began.append(time.monotonic())
        Dying()
        time.sleep(30)

    monkeypatch.setattr("perceptbench.run.run", stop)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        answer = cli("run", "macadam-osa", "-m", "mse")
    finally:
        signal.signal(signal.SIGINT, before)
    rejected(answer, code, "perceptbench: ")
    assert "Traceback" not in answer[2] and time.monotonic() - began[0] < 20


def test_a_machine_without_weights_answers_within_seconds(cli, images, tmp_path, monkeypatch):
    """No file, and a server that refuses: both networks' losses are skipped and named."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    start = time.monotonic()
    code, output, errors = cli("run", "--judgements", table(images), "-m", "lpips-alex",
                               "-m", "squeeze-l2", "-m", "mse", "-o", tmp_path / "out")  # fmt: skip
    assert code == 0 and time.monotonic() - start < 60, errors
    for name in ("lpips-alex", "squeeze-l2"):
        assert f"- skipped: {name}: " in output
    assert "Traceback" not in errors


LOSS = '[backbone]\nname = "small-cnn"\nweights = "random"\n[[tap]]\nlayer = "relu1"\n'


def test_taps_of_a_network_are_listed_with_their_shapes(cli):
    code, output, _ = cli("metrics", "taps", "small-cnn")
    assert code == 0 and "| relu3     | 64 x 224 x 224" in output
    code, output, _ = cli("metrics", "taps")
    assert code == 0 and "vit_b_16" in output and "module:callable" in output
    rejected(cli("metrics", "taps", "vgg61"), 2, "did you mean vgg1")


def test_a_loss_is_shown_with_every_default_and_its_hash(cli, tmp_path):
    (tmp_path / "mine.toml").write_text(LOSS + 'distance = "l2"\n')
    code, output, _ = cli("metrics", "show", tmp_path / "mine.toml")
    shown = json.loads(output)
    assert code == 0 and len(shown["hash"]) == 16
    assert shown["loss"]["input"]["std"] == [1.0, 1.0, 1.0]
    assert shown["loss"]["tap"][0]["reduction"] == "mean"
    code, output, _ = cli("metrics", "show", "mse")
    assert code == 0 and "hash" not in json.loads(output)
    rejected(cli("metrics", "show", "msee"), 2, "did you mean mse")


def test_a_loss_file_is_checked_for_known_mistakes(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("perceptbench.metrics.memory.SECONDS", 0.0)  # few calls to find leaks
    loss = LOSS.replace("small-cnn", "small-discriminator")  # whose strides make it quick
    (tmp_path / "mine.toml").write_text(loss + 'distance = "l2"\nreduction = "sum"\n'
                                        '[[tap]]\nlayer = "relu3"\ndistance = "l2"\n')  # fmt: skip
    code, output, _ = cli("metrics", "check", tmp_path / "mine.toml")
    assert code == 0 and "reductions mean and sum are mixed" in output
    (tmp_path / "bad.toml").write_text(LOSS + 'distance = "l9"\n')
    rejected(cli("metrics", "check", tmp_path / "bad.toml"), 2, "bad.toml", "unknown distance 'l9'")
    gc.freeze()  # what the search for leaks has thawed, see `conftest.py`


def test_a_composite_loss_file_is_ranked(cli, images, tmp_path):
    (tmp_path / "mine.toml").write_text(LOSS + 'distance = "l2"\n')
    (tmp_path / "sum.toml").write_text(
        '[[term]]\npixel = "l1"\n[[term]]\nweight = 0.1\nloss = "mine.toml"\n'
    )
    options = ["-m", tmp_path / "sum.toml", "-m", "mae", "-o", tmp_path / "out"]
    code, output, errors = cli("run", "--judgements", table(images), *options)
    assert code == 0, errors
    assert "| mae, sum " in output  # of one pair, which both order alike


def test_scores_of_ones_own_join_the_ranking(cli, images, tmp_path):
    file = table(images, reference=["ref.png"] * 2, a=["a.png", "b.png"], b=["b.png", "a.png"],
                 p_b=[0.1, 0.7])  # fmt: skip
    (images / "scores.csv").write_text(
        "reference,distorted,mine,alike\nref.png,a.png,1,9\nref.png,b.png,2,3\n"
    )
    options = ["-m", "mse", "--scores", images / "scores.csv"]
    code, output, errors = cli(
        "run", "--judgements", file, *options, "--higher-is-better", "alike", "-o", tmp_path / "out"
    )
    assert code == 0, errors
    assert "| *human*" in output and "mine 2afc" in output and str(tmp_path / "out") in output
    board = pd.read_csv(tmp_path / "out" / "leaderboard.csv").set_index("metric")
    # The three order the images alike: one row, with all names.
    assert board.loc["alike", "also"] == "mine mse"
    assert board.loc["alike", "mine 2afc"] == pytest.approx(0.8)
    found = pd.read_csv(tmp_path / "out" / "agreement.csv")
    whole = found[(found["statistic"] == "2afc") & (found["slice"] == "all")]
    figures = whole.set_index("metric")["value"]
    assert figures[["mse", "mine", "alike"]].tolist() == pytest.approx([0.8] * 3)
    recorded = json.loads((tmp_path / "out" / "run.json").read_text())["metrics"]
    assert recorded["alike"]["title"].endswith("scores.csv")
    rejected(cli("run", "--judgements", file, *options, "--higher-is-better", "alik"), 2, "alike")
    (images / "scores.csv").write_text("reference,distorted,mse\nref.png,a.png,1\n")
    rejected(cli("run", "--judgements", file, *options), 2, "there is a metric mse already")


def test_a_folder_of_images_is_prepared_and_a_dataset_exported(cli, images, tmp_path):
    code, output, errors = cli("prepare", images, "-o", tmp_path / "study", "--ladders", "blur")
    assert code == 0 and "fill in its column `quality`" in output, errors
    code, output, errors = cli("datasets", "export", "macadam-osa", "-o", tmp_path / "osa")
    assert code == 0 and (tmp_path / "osa" / "macadam-osa.csv").is_file(), errors
    code, output, _ = cli("metrics", "list", "piq")
    assert code == 0 and "piq:ssim" in output
    code, output, _ = cli("metrics", "new", "my-metric")
    assert code == 0 and "pip install -e my-metric" in output
