"""Hugging Face data in memory and streamed, from small sets written to disk."""

from itertools import islice

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from scorefield.data import Scaling, hub_stream, huggingface, open_data
from scorefield.errors import DataError, MissingPackageError, RangeError, UnknownNameError

RNG = np.random.default_rng(1)
NUMBERS = RNG.normal(5.0, 3.0, (60, 2))
PICTURES = RNG.integers(0, 256, (30, 4, 6), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()


@pytest.fixture
def saved_table(tmp_path):
    rows = {"a": NUMBERS[:, 0], "b": NUMBERS[:, 1], "name": ["x", "y"] * 30}
    datasets.Dataset.from_dict(rows).save_to_disk(str(tmp_path / "table"))
    return tmp_path / "table"


@pytest.fixture
def saved_pictures(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["odd", "even"])})
    rows = {"image": [Image.fromarray(p) for p in PICTURES], "label": [int(p[0, 0]) % 2 for p in PICTURES]}
    both = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=features)})
    both.save_to_disk(str(tmp_path / "pictures"))
    return tmp_path / "pictures"


def values(x):
    return sorted(map(tuple, x.flatten(1).tolist()))


def test_a_saved_table(saved_table):
    data = huggingface(saved_table, columns=["a", "b"], label="name", held_out=0.2)
    assert (data.columns, data.classes, len(data.held_out)) == (("a", "b"), ("x", "y"), 12)
    back = data.scaling.to_data(torch.cat([data.train, data.held_out]).double())
    assert torch.allclose(back.sort(0).values, torch.from_numpy(NUMBERS).sort(0).values, atol=1e-5)
    assert open_data(saved_table, columns=["a", "b"], label="name", held_out=0.2).fingerprint == data.fingerprint
    assert open_data(f"hf:{saved_table}", columns=["b"]).columns == ("b",)


def test_saved_pictures_and_their_classes(saved_pictures):
    data = open_data(saved_pictures, label="label")
    assert (data.shape, data.scaling) == ((1, 4, 6), Scaling.pixels())
    bytes_ = data.scaling.to_data(data.train).round()
    assert torch.equal(bytes_[:, 0, 0, 0].long() % 2, data.labels)
    assert values(torch.cat([bytes_, data.scaling.to_data(data.held_out).round()])) == values(
        torch.from_numpy(PICTURES).float()
    )


def test_a_folder_that_the_library_understands(tmp_path):
    (tmp_path / "csv").mkdir()
    pd.DataFrame(NUMBERS, columns=["a", "b"]).to_csv(tmp_path / "csv" / "train.csv", index=False)
    assert len(huggingface(tmp_path / "csv").train) == 54
    (tmp_path / "pictures").mkdir()
    for i, picture in enumerate(PICTURES):
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{i:02}.png")
    assert huggingface(tmp_path / "pictures").shape == (1, 4, 6)
    (tmp_path / "parquet").mkdir()
    pd.DataFrame(NUMBERS, columns=["a", "b"]).to_parquet(tmp_path / "parquet" / "train.parquet", index=False)
    (tmp_path / "json").mkdir()
    pd.DataFrame(NUMBERS, columns=["a", "b"]).to_json(tmp_path / "json" / "train.jsonl", orient="records", lines=True)
    stream = hub_stream(tmp_path / "json", 7, held_out=10)
    assert torch.allclose(stream.scaling.to_data(stream.held_out), torch.from_numpy(NUMBERS[:10]).float(), atol=1e-5)
    stream = hub_stream(tmp_path / "parquet", 7, held_out=10)
    assert torch.allclose(stream.scaling.to_data(stream.held_out), torch.from_numpy(NUMBERS[:10]).float(), atol=1e-5)


def test_arrays_keep_their_shape(tmp_path):
    features = datasets.Features({"x": datasets.Array2D((4, 6), "uint8")})
    datasets.Dataset.from_dict({"x": list(PICTURES)}, features=features).save_to_disk(str(tmp_path / "arrays"))
    assert huggingface(tmp_path / "arrays").shape == (1, 4, 6)
    assert hub_stream(tmp_path / "arrays", 5, held_out=4).shape == (1, 4, 6)
    datasets.Dataset.from_dict({"x": NUMBERS.tolist()}).save_to_disk(str(tmp_path / "lists"))
    assert huggingface(tmp_path / "lists").shape == (2,)
    assert hub_stream(tmp_path / "lists", 5, held_out=4).shape == (2,)
    ragged = [[1.0] * (1 + i % 2) for i in range(9)]
    datasets.Dataset.from_dict({"x": ragged}).save_to_disk(str(tmp_path / "ragged"))
    for make in (lambda: huggingface(tmp_path / "ragged"), lambda: hub_stream(tmp_path / "ragged", 2, held_out=3)):
        with pytest.raises(DataError, match="arrays of several shapes in column 'x'"):
            make()


@pytest.mark.parametrize("buffer", [1, 8, 1000])
def test_a_stream_can_start_anywhere(saved_table, buffer):
    source = hub_stream(saved_table, 7, columns=["a", "b"], held_out=11, buffer=buffer, scaling=Scaling.identity())
    whole = list(islice(source.stream(), 25))
    for start in (0, 3, 7, 20):
        again = list(islice(source.stream(start), 5))
        assert all(torch.equal(a, b) for a, b in zip(again, whole[start:]))
    fresh = hub_stream(saved_table, 7, columns=["a", "b"], held_out=11, buffer=buffer, scaling=Scaling.identity())
    assert torch.equal(next(fresh.stream(13)), whole[13])


def test_a_stream_runs_through_shuffled_epochs_without_the_held_out_rows(saved_table):
    source = hub_stream(saved_table, 7, columns=["a", "b"], held_out=11, scaling=Scaling.identity())
    truth = torch.from_numpy(NUMBERS).float()
    assert torch.equal(source.held_out, truth[:11])
    rows = torch.cat(list(islice(source.stream(), 21)))
    epochs = rows.view(3, 49, 2)
    assert all(values(epoch) == values(truth[11:]) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[0], truth[11:])
    other = hub_stream(saved_table, 7, columns=["a", "b"], held_out=11, scaling=Scaling.identity(), seed=1)
    assert not torch.equal(next(other.stream()), rows[:7])


def test_rows_equal_to_a_held_out_one_are_not_streamed(tmp_path):
    x = [0.0, 1.0, 2.0, 0.0, 3.0, 1.0, 4.0]
    datasets.Dataset.from_dict({"x": x}).save_to_disk(str(tmp_path / "d"))
    source = hub_stream(tmp_path / "d", 3, held_out=2, scaling=Scaling.identity())
    assert sorted(next(source.stream()).flatten().tolist()) == [2.0, 3.0, 4.0]
    datasets.Dataset.from_dict({"x": [0.0, 0.0, 0.0]}).save_to_disk(str(tmp_path / "same"))
    with pytest.raises(DataError, match="no rows besides the 1 held out"):
        next(hub_stream(tmp_path / "same", 3, held_out=1, scaling=Scaling.identity()).stream())


def test_a_streamed_table_is_standardised_by_rows_after_the_held_out_ones(saved_table):
    source = hub_stream(saved_table, 49, columns=["a", "b"], held_out=11)
    batch = next(source.stream())
    assert torch.allclose(batch.mean(0), torch.zeros(2), atol=1e-6)
    assert torch.allclose(batch.std(0, correction=0), torch.ones(2), atol=1e-6)
    assert torch.allclose(
        source.scaling.to_data(source.held_out.double()), torch.from_numpy(NUMBERS[:11]), rtol=1e-5, atol=1e-5
    )


def test_streamed_pictures(saved_pictures):
    source = hub_stream(saved_pictures, 5, held_out=5)
    truth = torch.from_numpy(PICTURES)[:, None] / 127.5 - 1
    assert torch.allclose(source.held_out, truth[:5], atol=1e-6)
    epoch = torch.cat(list(islice(source.stream(), 5)))
    assert torch.allclose(epoch.flatten(1).sort(0).values, truth[5:].flatten(1).sort(0).values, atol=1e-6)
    assert torch.equal(next(source.stream(4)), epoch[20:])


def test_bad_rows_of_a_stream_are_named(tmp_path):
    def refuse(rows, words, **options):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        datasets.Dataset.from_dict(rows).save_to_disk(str(folder))
        with pytest.raises(DataError, match=words):
            list(islice(hub_stream(folder, 2, held_out=2, **options).stream(), 4))

    refuse({"x": [1.0, 2.0, 3.0, float("nan"), 5.0]}, r"x\[\d, 0\] is nan \(row \d, column 'x'\)")
    refuse({"x": [1.0, 2.0, 3.0, None, 5.0]}, "batch 0: .* is nan|batch 1: .* is nan", scaling=Scaling.identity())
    refuse({"x": [1.0, 2.0]}, "2 rows, more than held_out=2 wanted")
    refuse({"x": [1.0, 2.0, 3.0], "t": ["a", "b", "c"]}, r"column 't' holds no numbers: choose with columns=\['x'\]")
    refuse({"x": [1.0, 2.0, 3.0, 3.0]}, "column 'x' is constant")
    mixed = [np.zeros((2, 2)), np.ones((2, 2)), np.zeros((2, 2)) + 0.5, np.full((2, 2), 7.0)]
    refuse({"x": mixed}, "values outside")
    sizes = [Image.fromarray(PICTURES[i][: 4 - i // 3]) for i in range(5)]
    refuse({"x": sizes}, "rows of shape|pixels")
    folder = tmp_path / "many"
    datasets.Dataset.from_dict({"x": sizes, "y": sizes}).save_to_disk(str(folder))
    for make in (lambda: hub_stream(folder, 2, held_out=2), lambda: huggingface(folder)):
        with pytest.raises(DataError, match="columns x, y hold pictures or arrays"):
            make()


def test_what_is_not_there_is_named(saved_table, saved_pictures, tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'train'"):
        huggingface(saved_pictures, split="trian")
    for make in (lambda c: huggingface(saved_table, columns=c), lambda c: hub_stream(saved_table, 2, columns=c)):
        with pytest.raises(UnknownNameError, match="did you mean 'name'"):
            make(["nam"])
    with pytest.raises(DataError, match="column 'name' holds no numbers"):
        huggingface(saved_table)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="none: not loaded"):
        huggingface(tmp_path / "none")
    for option in ({"size": 0}, {"held_out": 0}, {"buffer": 0}):
        with pytest.raises(RangeError, match="must be at least 1"):
            hub_stream(saved_table, **{"size": 2, **option})
    with pytest.raises(RangeError, match="batches count from 0"):
        next(hub_stream(saved_table, 2, columns=["a"], held_out=5).stream(-1))


def test_bad_rows_in_memory_are_named(tmp_path):
    rows = {"x": [Image.fromarray(PICTURES[i][: 4 - i // 3]) for i in range(5)]}
    datasets.Dataset.from_dict(rows).save_to_disk(str(tmp_path / "sizes"))
    with pytest.raises(DataError, match="sizes, row 4 is 6 × 3 pixels, sizes, row 1 is 6 × 4"):
        huggingface(tmp_path / "sizes")
    features = datasets.Features({"x": datasets.Image(), "y": datasets.Value("string")})
    rows = {"x": [*(Image.fromarray(p) for p in PICTURES[:3]), None], "y": ["a", "b", "c", "d"]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "holes"))
    with pytest.raises(DataError, match="row 4: no picture"):
        huggingface(tmp_path / "holes")
    rows["x"][3] = Image.fromarray(PICTURES[3])
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "text"))
    with pytest.raises(DataError, match=r"label 'y' holds .*whole numbers wanted"):
        huggingface(tmp_path / "text", label="y")
    datasets.Dataset.from_dict({"x": [1.0, None, 3.0]}).save_to_disk(str(tmp_path / "nulls"))
    with pytest.raises(DataError, match=r"x\[1, 0\] is nan \(row 2, column 'x'\)"):
        huggingface(tmp_path / "nulls")


def test_without_the_package(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'scorefield\[data\]'"):
        huggingface(tmp_path)


def test_streamed_labels_stay_with_their_rows(saved_pictures, saved_table):
    source = hub_stream(saved_pictures, 5, held_out=5, label="label")
    assert source.held_out_labels.tolist() == [int(p[0, 0]) % 2 for p in PICTURES[:5]]
    for batch in islice(source.stream(), 9):
        parity = (batch["x"][:, 0, 0, 0] * 127.5 + 127.5).round().long() % 2
        assert torch.equal(batch["label"], parity)
    with pytest.raises(DataError, match="label 'name' holds other than whole numbers"):
        hub_stream(saved_table, 5, held_out=5, columns=["a"], label="name")
    with pytest.raises(UnknownNameError, match="did you mean 'name'"):
        hub_stream(saved_table, 5, held_out=5, columns=["a"], label="nmae")


def test_streamed_picture_files_and_their_copies(tmp_path):
    (tmp_path / "files").mkdir()
    for i in range(9):
        Image.fromarray(PICTURES[i % 6]).save(tmp_path / "files" / f"{i}.png")
    source = hub_stream(tmp_path / "files", 6, held_out=3)
    truth = torch.from_numpy(PICTURES)[:, None] / 127.5 - 1
    assert torch.allclose(source.held_out, truth[:3], atol=1e-6)
    epoch = next(source.stream())
    assert values(source.scaling.to_data(epoch[:3]).round()) == values(torch.from_numpy(PICTURES[3:6]).float())
    assert values(epoch[3:]) == values(epoch[:3])


def test_a_grey_batch_of_a_coloured_stream_has_three_channels(tmp_path):
    colour = RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    rows = {"x": [Image.fromarray(colour), *(Image.fromarray(p) for p in PICTURES[:4])]}
    datasets.Dataset.from_dict(rows).save_to_disk(str(tmp_path / "mixed"))
    batch = next(hub_stream(tmp_path / "mixed", 4, held_out=1).stream())
    assert batch.shape == (4, 3, 4, 6)
    assert torch.equal(batch[:, 0], batch[:, 2])
    rows["x"].reverse()
    datasets.Dataset.from_dict(rows).save_to_disk(str(tmp_path / "reversed"))
    with pytest.raises(DataError, match=r"batch 0: rows of shape \(3, 4, 6\), \(1, 4, 6\) in the rows before"):
        next(hub_stream(tmp_path / "reversed", 4, held_out=1).stream())
