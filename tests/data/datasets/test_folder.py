"""Folders of image files: listing, ids, sides, broken files, lazily decoded images."""

import os
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from sslmem_kit.data import Dataset, load
from sslmem_kit.data.record import lines
from sslmem_kit.errors import UserError
from sslmem_kit.spec.data import DataSpec

BROKEN = ["cat/b.png", "dog/sub/c.JPG"]


def write(path, seed=0, size=(12, 12), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **options)


@pytest.fixture
def pets(tmp_path):
    """Two classes of three and four images, one below a sub-folder, among files that are none."""
    root = tmp_path / "pets"
    names = ["cat/a.png", "cat/b.png", "cat/c.jpeg", "dog/a.png", "dog/d.PNG", "dog/sub/c.JPG", "dog/z.jpg"]
    for seed, name in enumerate(names):
        write(root / name, seed)
    (root / "cat" / "notes.txt").write_text("not an image")
    (root / "cat" / ".hidden.png").write_text("not an image")
    (root / ".cache").mkdir()
    (root / "README.md").write_text("not an image")
    return root


def read(root, **options) -> Dataset:
    return load(DataSpec(name=f"folder:{root}", **options))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def tree(root, names, **options):
    for seed, name in enumerate(names):
        write(root / name, seed, **options)
    return root


def test_ids_are_positions_in_the_sorted_listing(pets):
    data = read(pets)
    assert data.class_names == ("cat", "dog")
    assert data.image_shape == (12, 12, 3)
    assert data.skipped == ()
    assert data.in_memory
    np.testing.assert_array_equal(data.ids, np.arange(7))
    np.testing.assert_array_equal(data.labels, [0, 0, 0, 1, 1, 1, 1])
    for number, name in [(1, "cat/b.png"), (4, "dog/d.PNG"), (5, "dog/sub/c.JPG")]:
        np.testing.assert_array_equal(data.read([number])[0], np.asarray(Image.open(pets / name)))


def test_lazily_decoded_is_in_memory(pets):
    held, lazy = read(pets), read(pets, memory_limit_mb=0)
    assert held.in_memory
    assert not lazy.in_memory
    order = [6, 0, 3, 0]
    np.testing.assert_array_equal(lazy.read(order), held.read(order))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(lazy)).read(order), held.read(order))
    assert lazy.read([]).shape == (0, 12, 12, 3)
    assert lazy.fingerprint == held.fingerprint
    (pets / "dog" / "a.png").unlink()
    with pytest.raises(UserError, match=r"dog/a\.png can no longer be read"):
        lazy.read([3])


def test_fingerprint_is_of_the_content(pets, tmp_path):
    before = read(pets).fingerprint
    shutil.copytree(pets, tmp_path / "moved")
    assert read(tmp_path / "moved").fingerprint == before
    assert read(pets, image_size=11).fingerprint != before
    assert load(DataSpec(name=f"folder:{pets}"), seed=8).fingerprint != before  # another held-out side
    pixels = np.asarray(Image.open(pets / "cat" / "a.png")).copy()
    pixels[3, 4, 1] ^= 1
    Image.fromarray(pixels).save(pets / "cat" / "a.png")
    changed = read(pets).fingerprint
    assert changed != before
    assert read(pets, memory_limit_mb=0).fingerprint == changed
    (pets / "dog").rename(pets / "hound")
    assert read(pets).fingerprint not in (before, changed)


def test_mixed_sizes_take_the_median_and_crop(tmp_path):
    root = tmp_path / "mixed"
    for number, size in enumerate([(10, 30), (20, 20), (50, 40)]):
        write(root / "a" / f"{number}.png", number, size)
    data = read(root)
    assert data.image_shape == (20, 20, 3)
    wide = Image.open(root / "a" / "2.png").crop((5, 0, 45, 40)).resize((20, 20), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(data.read([2])[0], np.asarray(wide))
    assert read(root, max_image_size=16).image_shape == (16, 16, 3)
    assert read(root, image_size=32, max_image_size=16).image_shape == (32, 32, 3)


def test_one_channel_only_if_every_image_is_grey(tmp_path):
    root = tree(tmp_path / "grey", ["a/1.png", "a/2.jpg"], mode="L")
    write(root / "a" / "3.png", mode="LA")
    write(root / "a" / "4.png", mode="1")
    Image.fromarray(np.full((12, 12), 40000, dtype=np.uint16)).save(root / "a" / "5.png")
    data = read(root)
    assert data.image_shape == (12, 12, 1)
    assert (data.read([4]) == 156).all()  # 40000 / 257
    write(root / "a" / "6.png", mode="P")
    assert read(root).image_shape == (12, 12, 3)


@pytest.mark.parametrize("held_out", ["test", "val"])
def test_own_sides(tmp_path, held_out):
    names = [f"{side}/{label}/{number}.png" for side in ("train", held_out) for label in "xy" for number in range(2)]
    root = tree(tmp_path / "sides", names)
    data = read(root, test_fraction=0.5)
    np.testing.assert_array_equal(data.is_test, [False] * 4 + [True] * 4)  # train first, though "test" sorts before it
    np.testing.assert_array_equal(data.labels, [0, 0, 1, 1] * 2)
    assert data.class_names == ("x", "y")
    np.testing.assert_array_equal(data.read([0])[0], np.asarray(Image.open(root / "train/x/0.png")))
    write(root / held_out / "z" / "0.png")
    with pytest.raises(UserError, match=f"train has 2 classes, {held_out} 3, and 1 are in one split only: z"):
        read(root)


def test_stray_images_are_named(pets):
    write(pets / "preview.png")
    data = read(pets)
    assert len(data) == 7
    assert data.skipped == ("preview.png: lies beside the class folders, so it has no class",)


def test_broken_files_are_refused_by_name(pets):
    truncate(pets / "cat" / "b.png")
    (pets / "dog" / "sub" / "c.JPG").write_text("no image at all")
    with pytest.raises(UserError) as caught:
        read(pets)
    message = str(caught.value)
    assert "2 of 7 image files cannot be decoded" in message
    assert all(name in message for name in BROKEN)
    assert "not an image in a format that is read" in message
    assert "truncated" in message
    assert "on_error" in message


def test_only_the_first_broken_files_are_named(tmp_path):
    root = tree(tmp_path / "many", [f"a/{number}.png" for number in range(6)])
    for number in range(1, 6):
        (root / "a" / f"{number}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"5 of 6 image files .* a/1\.png \(.*a/2\.png \(.*a/3\.png \(.*\) and 2 more;") as caught:
        read(root)
    assert "4.png" not in str(caught.value)


@pytest.mark.parametrize("memory_limit_mb", [0, 2048])
def test_skipped_files_leave_a_gap(pets, memory_limit_mb):
    whole = read(pets)
    truncate(pets / "cat" / "b.png")
    (pets / "dog" / "sub" / "c.JPG").write_text("no image at all")
    data = read(pets, on_error="skip", memory_limit_mb=memory_limit_mb)
    np.testing.assert_array_equal(data.ids, [0, 2, 3, 4, 6])
    np.testing.assert_array_equal(data.read(data.ids), whole.read(data.ids))
    np.testing.assert_array_equal(data.labels, whole.labels[data.ids])
    assert [line.split(": ")[0] for line in data.skipped] == BROKEN
    assert data.fingerprint == read(pets, on_error="skip").fingerprint != whole.fingerprint
    with pytest.raises(UserError, match="1 of 1"):
        data.read([1])


def test_size_and_channels_do_not_hang_on_skipped_files(tmp_path):
    root = tree(tmp_path / "sizes", ["a/1.png", "a/2.png"], mode="L")
    for number in range(3):
        write(root / "a" / f"large{number}.png", size=(40, 40))
        truncate(root / "a" / f"large{number}.png")  # its header still says 40x40, RGB
    data = read(root, on_error="skip")
    assert data.image_shape == (12, 12, 1)
    assert len(data) == 2
    assert len(data.skipped) == 3
    np.testing.assert_array_equal(data.read([0])[0, ..., 0], np.asarray(Image.open(root / "a" / "1.png")))


def test_all_broken(tmp_path):
    root = tree(tmp_path / "all", ["a/1.png", "a/2.png"])
    for path in root.glob("a/*.png"):
        truncate(path)
    with pytest.raises(UserError, match="2 of 2 image files cannot be decoded"):
        read(root, on_error="skip")


def test_class_emptied_by_skipping(tmp_path):
    root = tree(tmp_path / "emptied", ["a/1.png", "a/2.png", "b/1.png"])
    truncate(root / "b" / "1.png")
    with pytest.raises(UserError, match="1 of 2 classes have no sample after 1 broken files were skipped: b"):
        read(root, on_error="skip")


def test_other_formats_are_not_tried(tmp_path):
    root = tree(tmp_path / "renamed", ["a/1.png", "a/2.png"])
    Image.new("RGB", (12, 12)).save(root / "a" / "3.png", format="EPS")
    with pytest.raises(UserError, match=r"a/3\.png \(not an image in a format that is read\)"):
        read(root)


def test_a_class_that_is_never_held_out_is_said(tmp_path):
    """As the unlabelled images of STL10: an empty folder on the other side says that it is meant."""
    root = tree(tmp_path / "three", ["train/cat/1.png", "train/dog/1.png", "train/dog/2.png", "test/cat/1.png"])
    (root / "test" / "dog").mkdir()
    data = read(root)
    assert data.class_names == ("cat", "dog")
    assert data.record["never_held_out"] == {"count": 1, "first": ["dog"]}
    assert "of 1 class no image is held out: dog" in " ".join(lines(data.record))


def test_what_is_there_and_is_not_read_is_no_empty_folder(tmp_path):
    root = tree(tmp_path / "three", ["train/cat/1.png", "train/dog/1.png", "train/dog/2.png", "test/cat/1.png"])
    (root / "test" / "dog").mkdir()
    (root / "test" / "dog" / "1.heic").write_bytes(b"x")
    with pytest.raises(UserError, match="1 of 2 classes hold no image: test/dog"):
        read(root)


def test_folder_errors(tmp_path, pets):
    with pytest.raises(UserError, match=f"data.name 'folder:{tmp_path}/none'.* is not there"):
        read(tmp_path / "none")
    with pytest.raises(UserError, match="is not a folder"):
        read(pets / "README.md")
    with pytest.raises(UserError, match="has no sub-folder"):
        read(pets / "cat")
    (pets / "empty").mkdir()
    (pets / "empty" / "notes.txt").touch()
    with pytest.raises(UserError, match=r"1 of 3 classes hold no image: empty \(passed over: .*2 \.txt"):
        read(pets)
    bare = tree(tmp_path / "bare", ["train/cat/1.png", "train/dog/1.png"])
    for name in ("cat", "dog"):
        (bare / "test" / name).mkdir(parents=True)
    with pytest.raises(UserError, match="2 of 2 classes hold no image: test/cat, test/dog"):
        read(bare)
    with pytest.raises(UserError, match="has 1 image; at least 2 are wanted"):
        read(tree(tmp_path / "one", ["a/1.png"]))


def test_folder_without_permission(pets, monkeypatch):
    def refuse(folder):  # root, who may run this, reads everything
        if folder.name == "cat":
            raise PermissionError(13, "Permission denied", str(folder))
        return os.scandir(folder)

    with monkeypatch.context() as patched:
        patched.setattr("sslmem_kit.data.datasets.folder.scandir", refuse)
        with pytest.raises(UserError, match=r"data\.name 'folder:.*/pets/cat cannot be read \(Permission denied\)"):
            read(pets)


def test_links_to_class_folders_are_followed(pets, tmp_path):
    (tmp_path / "linked").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "linked" / name).symlink_to(pets / name)
    assert read(tmp_path / "linked").fingerprint == read(pets).fingerprint


def test_progress_and_one_class(tmp_path):
    calls = []
    data = load(
        DataSpec(name=f"folder:{tree(tmp_path / 'one', ['a/1.png', 'a/2.png', 'a/3.png'])}"),
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls[-1] == (3, 3)
    assert data.class_names == ("a",)


def test_blocks_do_not_change_the_result(pets, monkeypatch):
    whole = read(pets)
    monkeypatch.setattr("sslmem_kit.data.datasets.image_files.BLOCK_BYTES", 12 * 12 * 3 * 2)
    calls = []
    data = load(DataSpec(name=f"folder:{pets}"), progress=lambda done, total: calls.append(done))
    assert calls == [2, 4, 6, 7]
    assert data.fingerprint == whole.fingerprint
    np.testing.assert_array_equal(data.read(data.ids), whole.read(whole.ids))
