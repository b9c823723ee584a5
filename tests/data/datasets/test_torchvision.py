from __future__ import annotations

import hashlib
import pickle
import urllib.error
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision.datasets
from real_data import require
from toy_data import archive, pixels

from edgemate.data.datasets.cifar import check_cifar100, cifar10, cifar100
from edgemate.data.datasets.fashion_mnist import fashion_mnist
from edgemate.errors import DataError


@pytest.mark.parametrize("factory", [fashion_mnist, cifar10, cifar100])
def test_a_missing_root_is_one_line_that_names_what_to_set(tmp_path, factory):
    with pytest.raises(DataError) as caught:
        factory(root=str(tmp_path / "none"), download=False)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        factory.__name__,
        str(tmp_path / "none"),
        "data.options.root",
        "EDGEMATE_DATA",
        "data.options.download",
    ):
        assert part in message


@pytest.mark.parametrize(
    "failure",
    [
        urllib.error.URLError("no route"),
        TimeoutError(),
        RuntimeError("first\nsecond"),
        EOFError(),
        pickle.UnpicklingError("x"),
    ],
)
def test_a_failed_download_is_one_line(monkeypatch, tmp_path, failure):
    def fail(**_):
        raise failure

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", fail)
    with pytest.raises(
        DataError, match=r"cifar10 cannot be loaded from .*let this machine reach the network"
    ) as caught:
        cifar10(root=str(tmp_path))
    assert "\n" not in str(caught.value)


def test_damaged_files_are_one_line(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{part}-ubyte").write_bytes(b"\0\0\x08\x03 and no more")
    with pytest.raises(DataError, match="fashion_mnist cannot be loaded") as caught:
        fashion_mnist(root=str(tmp_path))
    assert "\n" not in str(caught.value)


def test_torchvisions_images_become_arrays(monkeypatch, tmp_path):
    def factory(root, train, download):
        warnings.warn("dtype(): align should be passed as Python or NumPy boolean", stacklevel=1)
        return SimpleNamespace(data=pixels(4, 32, 32, 3), targets=[0, 1, 1, 0], classes=["a", "b"])

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", factory)
    source = cifar10(root=str(tmp_path))
    assert (source.name, source.classes, source.channels, source.size) == ("cifar10", ("a", "b"), 3, (32, 32))
    assert source.train.labels.tolist() == [0, 1, 1, 0]

    def gray(root, train, download):
        return SimpleNamespace(
            data=torch.zeros(4, 28, 28, dtype=torch.uint8), targets=torch.arange(4), classes=[*"abcd"]
        )

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", gray)
    source = fashion_mnist(root=str(tmp_path))
    assert source.train.array.shape == (4, 28, 28, 1)
    assert source.train.labels.dtype == np.int64


def test_cifar100_is_read_from_an_archive_if_there_is_one(tmp_path):
    archive(tmp_path / "cifar100.npz")
    source = cifar100(root=str(tmp_path), download=False)
    assert (source.name, source.classes) == ("cifar100", ("a", "b", "c"))


def write_cifar100(folder, monkeypatch, names):
    """Small files with the official names and keys; torchvision is told their sums, so that its reader takes them."""
    contents = {
        "train": {"data": pixels(6, 3072), "fine_labels": [0, 1, 2, 2, 1, 0], "coarse_labels": [0] * 6},
        "test": {"data": pixels(3, 3072, seed=1), "fine_labels": [2, 1, 0], "coarse_labels": [0] * 3},
        "meta": {"fine_label_names": names, "coarse_label_names": ["things"]},
    }
    folder.mkdir()
    sums = {}
    for name, content in contents.items():
        raw = pickle.dumps(content, protocol=2)
        (folder / name).write_bytes(raw)
        sums[name] = hashlib.md5(raw).hexdigest()
    official = torchvision.datasets.CIFAR100
    monkeypatch.setattr(official, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(official, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(official, "meta", {**official.meta, "md5": sums["meta"]})


def test_cifar100s_official_files_are_read(tmp_path, monkeypatch):
    write_cifar100(tmp_path / "cifar-100-python", monkeypatch, ["apple", "aquarium_fish", "baby"])
    check_cifar100(root=str(tmp_path), download=False)
    source = cifar100(root=str(tmp_path), download=False)
    assert (source.name, source.channels, source.size) == ("cifar100", 3, (32, 32))
    assert source.classes == ("apple", "aquarium_fish", "baby")
    assert source.train.labels.tolist() == [0, 1, 2, 2, 1, 0]
    # A row of the file is the red plane, then the green and the blue one.
    planes = pixels(6, 3072).reshape(6, 3, 32, 32)
    np.testing.assert_array_equal(source.train.array, planes.transpose(0, 2, 3, 1))
    assert source.test.labels.tolist() == [2, 1, 0]


def test_where_to_get_cifar100_and_what_would_do_are_said(tmp_path):
    with pytest.raises(DataError) as caught:
        check_cifar100(root=str(tmp_path), download=False)
    for part in ("cifar-100-python", "no cifar100.npz", "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"):
        assert part in str(caught.value)


def test_real_fashion_mnist():
    require("fashion_mnist")
    source = fashion_mnist(download=False)
    assert (len(source.train), len(source.test), source.size, source.channels) == (60_000, 10_000, (28, 28), 1)
    assert source.classes[0] == "T-shirt/top"
    assert np.bincount(source.train.labels).tolist() == [6_000] * 10


def test_real_cifar100():
    require("cifar100")
    source = cifar100(download=False)
    assert (len(source.train), len(source.test), len(source.classes)) == (50_000, 10_000, 100)
    assert source.train.image(0).mode == "RGB"
