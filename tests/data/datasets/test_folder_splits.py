"""Folders as people have them: names of splits, what looks like splits, links, what systems leave, pipes, names that are hard to tell apart."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslmem_kit.data import Dataset, load
from sslmem_kit.data.datasets.folder_splits import role
from sslmem_kit.data.record import lines
from sslmem_kit.errors import UserError
from sslmem_kit.spec.data import DataSpec


def write(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)).save(path)


def tree(root: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        write(root / name, seed)
    return root


def both(*folders: str) -> list[str]:
    """An image of two classes below each folder."""
    return [f"{folder}/{name}/1.png" for folder in folders for name in ("cat", "dog")]


def read(root: Path, **options) -> Dataset:
    return load(DataSpec(name=f"folder:{root}", **options))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(
            (name, "train")
            for name in ("train", "Train", "TRAINING", "trn", "train_set", "Training Images", "train2017", "trainset")
        ),
        *((name, "validation") for name in ("val", "Valid", "validation", "dev", "val_images", "VAL2017")),
        *((name, "test") for name in ("test", "Testing", "eval", "evaluation", "holdout", "hold-out", "held_out", "test_data")),
        *(
            (name, None)
            for name in ("cat", "trains", "tester", "training_shoes", "2017", "images", "data", "set", "bullet train", "_")
        ),
    ],
)
def test_names_of_splits(name, expected):
    assert role(name) == expected


@pytest.mark.parametrize(
    "splits",
    [
        ("train", "test"),
        ("Train", "Test"),
        ("training", "validation"),
        ("train", "valid"),
        ("train", "val", "test"),
        ("TRAIN", "dev", "Testing"),
        ("train_set", "held-out"),
        ("train2017", "val2017"),
    ],
)
def test_splits_are_no_classes(tmp_path, splits):
    data = read(tree(tmp_path, *both(*splits)))
    assert data.class_names == ("cat", "dog")
    # Train first, then validation, then test: all but the first are held out.
    np.testing.assert_array_equal(data.is_test, [False] * 2 + [True] * 2 * (len(splits) - 1))
    assert data.record["splits"] == dict.fromkeys(splits, 2)
    assert list(data.record["splits"]) == list(splits)
    assert data.record["held_out"] == list(splits[1:])
    assert data.record["splits_from"] == "given"
    assert all(f"{name} 2" in lines(data.record)[0] for name in splits)
    for place, name in enumerate(splits):
        np.testing.assert_array_equal(data.read([2 * place])[0], np.asarray(Image.open(tmp_path / name / "cat" / "1.png")))


def test_train_alone_is_all_there_is(tmp_path):
    names = [f"train/{name}/{number}.png" for name in ("cat", "dog") for number in range(5)]
    data = read(tree(tmp_path, *names))
    assert data.class_names == ("cat", "dog")
    assert data.record["splits"] == {"train": 8, "test": 2}
    assert data.record["splits_from"] == "drawn"
    assert data.is_test.sum() == 2


REFUSED = [
    ([*both("train", "test"), "extra/1.png"], "test, train are named like splits but extra beside them not"),
    ([*both("train"), *both(".")], "train is named like a split and holds cat, dog, but cat, dog beside it is no split"),
    (["train/1.png", "test/1.png"], "train is named like a split but holds 1 images and no sub-folder"),
    (["train/1.png", "train/2.png"], "train is named like a split but holds 2 images"),
    ([*both("train"), "test/1.png"], "test is named like a split but holds 1 images and no sub-folder"),
    (both("val", "test"), "val, test are named like held-out splits and there is no train beside"),
    (both("test"), "test is named like held-out splits and there is no train beside; add it, or name the folder test itself"),
    (both("train", "training"), "train, training are names of the same split"),
    (both("train", "Train", "test"), "Train, train are names of the same split"),
    (both("seg_train", "seg_test"), "seg_test is named like a split and holds cat, dog"),
    (
        ["cat/train/1.png", "cat/test/1.png", "dog/train/1.png"],
        "cat holds test, train, which are named like splits; splits go above",
    ),
    (both("photos"), "all of it lies in photos, which holds only folders"),
    ([*both("train", "val"), "test/cat/1.png"], "train has 2 classes, test 1, and 1 are in one split only: dog"),
    (["1.png", "2.png"], "has no sub-folder"),
]


@pytest.mark.parametrize(("names", "sentence"), REFUSED, ids=[sentence[:40] for _, sentence in REFUSED])
def test_what_can_be_read_in_two_ways_is_refused(tmp_path, names, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        read(tree(tmp_path, *names))
    assert str(caught.value).startswith("data.name 'folder:")
    assert "\n" not in str(caught.value)


def test_a_class_may_be_called_train(tmp_path):
    data = read(tree(tmp_path, "train/1.png", "bus/1.png", "bullet_train/1.png"))
    assert data.class_names == ("bullet_train", "bus", "train")


def test_linked_folders_are_read_once(tmp_path):
    tree(tmp_path / "more", "1.png", "deep/2.png")
    root = tree(tmp_path / "pets", "cat/0.png", "dog/0.png")
    (root / "cat" / "linked").symlink_to(tmp_path / "more")
    (root / "dog" / "one.png").symlink_to(tmp_path / "more" / "1.png")
    data = read(root, test_fraction=0)
    assert len(data) == 5
    np.testing.assert_array_equal(data.labels, [0, 0, 0, 1, 1])
    assert data.record["copies"] == {"samples": 5, "groups": 2, "test_in_train": 0, "other_class": 5}
    (root / "dog" / "again").symlink_to(tmp_path / "more" / "deep")
    with pytest.raises(UserError, match=r"cat/linked/deep is the same folder as dog/again, by a link"):
        read(root)


@pytest.mark.parametrize("target", [".", "..", "../dog", "../.."])
def test_links_in_circles_are_refused(tmp_path, target):
    root = tree(tmp_path / "pets", "cat/0.png", "dog/0.png")
    (root / "cat" / "circle").symlink_to(target)
    with pytest.raises(UserError, match=r"is the same folder as .*, by a link"):
        read(root)


def test_a_link_to_nothing_is_named(tmp_path):
    root = tree(tmp_path, "cat/0.png", "dog/0.png")
    (root / "cat" / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(UserError, match=r"1 of 3 image files cannot be decoded: cat/gone\.png \(No such file or directory\)"):
        read(root)


@pytest.mark.parametrize(
    "name", ["__MACOSX", "@eaDir", "lost+found", ".ipynb_checkpoints", "$RECYCLE.BIN", "System Volume Information", "#recycle"]
)
@pytest.mark.parametrize("where", ["", "cat", "train", "train/cat"])
def test_what_systems_leave_is_no_class_and_no_image(tmp_path, name, where):
    root = tree(tmp_path, *(both("train", "test") if where.startswith("train") else both(".")))
    before = read(root)
    write(root / where / name / "cat" / "1.png")
    for left in (".DS_Store", "Thumbs.db", "desktop.ini", "._1.png"):
        (root / where / left).write_text("left by a system")
    data = read(root)
    assert data.fingerprint == before.fingerprint
    assert data.record["passed_over"]["by"] == {"hidden or left by a system": 5}


def test_pipes_and_sockets_are_not_opened(tmp_path):
    root = tree(tmp_path, "cat/0.png", "dog/0.png")
    os.mkfifo(root / "cat" / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        place = os.getcwd()
        os.chdir(root / "dog")  # a socket's address is at most 108 bytes long
        try:
            server.bind("socket.jpg")
        finally:
            os.chdir(place)
        (root / "dog" / "device.png").symlink_to("/dev/zero")
        data = read(root)
    assert len(data) == 2
    assert data.record["passed_over"] == {
        "count": 3,
        "by": {"pipe, socket or device": 3},
        "first": ["cat/pipe.png", "dog/device.png", "dog/socket.jpg"],
    }


def test_a_file_in_place_of_a_folder_says_what_to_do(tmp_path):
    for name, remedy in (("photos.zip", "unpack it first"), ("photos.npz", r"for an archive of arrays write npz:.*photos\.npz")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(UserError, match=rf"is not a folder; {remedy}"):
            read(tmp_path / name)


def test_names_that_are_hard_to_tell_apart(tmp_path):
    twins = tree(tmp_path / "twins", "caf\u00e9/0.png", "cafe\u0301/0.png")
    with pytest.raises(UserError, match=r"'cafe\\u0301' and 'caf\\xe9' look the same"):
        read(twins)
    with pytest.raises(UserError, match=r"class folder 'a\\nb' has a name that cannot be printed"):
        read(tree(tmp_path / "line", "a\nb/0.png", "c/0.png"))
    with pytest.raises(UserError, match=r"class folder 'a\\udcff' has a name that cannot be printed"):
        read(tree(tmp_path / "bytes", "a\udcff/0.png", "c/0.png"))
    letters = read(tree(tmp_path / "letters", "a/0.png", "A/0.png"))  # a set of letters has both
    assert letters.class_names == ("A", "a")
    root = tree(tmp_path / "files", "a/0\n1.png", "a/\udcff.png", "a/2.PNG")
    (root / "a" / "x\ny.txt").touch()
    data = read(root)
    assert len(data) == 3
    assert all("\n" not in line for line in lines(data.record))
    (root / "a" / "\udcff.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"a/\\xff\.png \(not an image"):
        read(root)
