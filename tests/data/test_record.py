"""What was read, in a record and in lines: formats, sizes, what was passed over, copies; and images that would fill the memory."""

import json
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslmem_kit import store
from sslmem_kit.data import Dataset, load
from sslmem_kit.data.record import across, copies, lines
from sslmem_kit.errors import UserError
from sslmem_kit.report.build import build_report
from sslmem_kit.report.text import as_text
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.statistics.caveats import caveats
from sslmem_kit.study import Study
from tests.support.fake_study import make_study

RNG = np.random.default_rng


def picture(seed: int, size: tuple[int, int] = (8, 8), channels: int = 3) -> Image.Image:
    pixels = RNG(seed).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def save(path: Path, image: Image.Image, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def read(root: Path, **options) -> Dataset:
    return load(DataSpec(name=f"folder:{root}", **options))


LOSSLESS = {
    "png": {},
    "webp": {"lossless": True},
    "bmp": {},
    "TIFF": {},
    "tif": {"compression": "tiff_lzw"},
    "ppm": {},
    "qoi": {},
    "jp2": {},
}


def test_formats_of_one_folder_are_all_used(tmp_path):
    for seed, (suffix, options) in enumerate(LOSSLESS.items()):
        save(tmp_path / "a" / f"{seed}.{suffix}", picture(seed), **options)
    for suffix in ("gif", "JPG", "jpeg", "avif"):
        save(tmp_path / "b" / f"1.{suffix}", picture(99))
    data = read(tmp_path)
    for seed in range(len(LOSSLESS)):
        np.testing.assert_array_equal(data.read([seed])[0], np.asarray(picture(seed)))
    assert len(data) == 12
    assert data.record["formats"] == {
        "JPEG": 2, "TIFF": 2, "AVIF": 1, "BMP": 1, "GIF": 1, "JPEG2000": 1, "PNG": 1, "PPM": 1, "QOI": 1, "WEBP": 1
    }  # fmt: skip
    assert "12 images (2 JPEG, 2 TIFF, 1 AVIF, " in lines(data.record)[0]


def test_the_first_of_several_frames_is_used_and_said(tmp_path):
    frames = [picture(seed) for seed in range(3)]
    for suffix in ("gif", "webp", "png", "tiff"):
        options = {"lossless": True} if suffix == "webp" else {}
        save(tmp_path / "a" / f"many.{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
        save(tmp_path / "a" / f"one.{suffix}", frames[0], **options)
    data = read(tmp_path)
    assert data.record["several_frames"] == 4
    np.testing.assert_array_equal(data.read([1])[0], np.asarray(frames[0]))
    np.testing.assert_array_equal(data.read([2])[0], np.asarray(frames[0]))
    assert "of 4 files with several frames the first is used" in lines(data.record)[1]


def test_pixels_whose_range_is_not_known_are_refused(tmp_path):
    for name, array in (
        ("float", np.linspace(0, 1, 64).reshape(8, 8).astype(np.float32)),
        ("deep", np.arange(64).reshape(8, 8) * 5000),
    ):
        for number in range(2):
            save(
                tmp_path / name / "a" / f"{number}.tiff", Image.fromarray(array.astype(np.float32 if name == "float" else np.int32))
            )
    with pytest.raises(UserError, match=r"a/0\.tiff \(its pixels are floating-point numbers"):
        read(tmp_path / "float")
    with pytest.raises(UserError, match=r"a/0\.tiff \(its pixels go from 0 to 315000, only 0 to 65535 are read"):
        read(tmp_path / "deep")


def test_everything_that_is_no_image_is_counted(tmp_path):
    for number in range(3):
        save(tmp_path / "a" / f"{number}.png", picture(number))
    for name in ("a/notes.txt", "a/more.txt", "a/clip.MP4", "a/README", "labels.csv", "a/photo.heic"):
        (tmp_path / name).touch()
    save(tmp_path / "cover.png", picture(5))
    (tmp_path / "a" / "broken.png").write_bytes(b"\x89PNG")
    data = read(tmp_path, on_error="skip")
    assert data.record["passed_over"]["count"] == 6
    assert data.record["passed_over"]["by"] == {".txt": 2, ".csv": 1, ".heic": 1, ".mp4": 1, "no suffix": 1}
    assert data.record["skipped"]["count"] == len(data.skipped) == 2
    text = lines(data.record)[1]
    assert "passed over 6 that are no images: 2 .txt, 1 .csv, 1 .heic, 1 .mp4, 1 no suffix (labels.csv, " in text
    assert "left out 2: cover.png: lies beside the class folders, so it has no class; a/broken.png: " in text
    assert json.loads(json.dumps(data.record)) == data.record


def test_sizes_as_they_were(tmp_path):
    for number, size in enumerate([(10, 30), (20, 20), (50, 40), (20, 20)]):
        save(tmp_path / "a" / f"{number}.png", picture(number, size, channels=1))
    data = read(tmp_path)
    assert data.record["sizes"] == {"smallest": [10, 30], "largest": [50, 40], "distinct": 3, "used": [20, 20, 1]}
    np.testing.assert_array_equal(data.original_shapes, [(30, 10), (20, 20), (40, 50), (20, 20)])
    assert (
        "4 images of 3 sizes from 10 x 30 to 50 x 40 pixels, cropped and resized to 20 x 20, grey; 1 class" in lines(data.record)[0]
    )
    (line,) = lines(load(DataSpec(name="digits")).record)
    assert line == "1,797 images of 8 x 8 pixels, grey; 10 classes; train 1,438, test 359 (held out by test_fraction)"


# --- copies ---


def test_copies_are_of_pixels_not_of_files(tmp_path):
    for split, name, seed, suffix in [
        ("train", "a", 0, "png"), ("train", "a", 1, "png"), ("train", "b", 2, "bmp"), ("train", "b", 3, "png"),
        ("test", "a", 0, "bmp"), ("test", "a", 9, "png"), ("test", "b", 2, "png"), ("test", "b", 1, "png"),
    ]:  # fmt: skip
        save(tmp_path / split / name / f"{seed}.{suffix}", picture(seed))
    for options in ({}, {"memory_limit_mb": 0}):
        found = read(tmp_path, **options).record["copies"]
        assert found == {"samples": 6, "groups": 3, "test_in_train": 3, "other_class": 2}
    save(tmp_path / "train" / "a" / "1.png", picture(50))
    assert read(tmp_path, image_size=4).record["copies"]["samples"] == 4


def test_copies_against_a_slow_count():
    keys, codes, labels = RNG(0).integers(0, 40, 90).astype(np.uint64), RNG(1).integers(0, 4, 90), RNG(2).integers(0, 2, 90)
    names = ("shared", "candidate", "independent", "extra")
    expected = {
        name: {
            other: sum(any(keys[i] == keys[j] for j in np.flatnonzero(codes == q)) for i in np.flatnonzero(codes == p))
            for q, other in enumerate(names)
            if q != p
        }
        for p, name in enumerate(names)
    }
    assert across(keys, codes) == {name: {o: n for o, n in row.items() if n} for name, row in expected.items()}
    others = [[j for j in range(90) if j != i and keys[i] == keys[j]] for i in range(90)]
    assert copies(keys, labels, codes == 3) == {
        "samples": sum(map(bool, others)),
        "groups": len({key for key, same in zip(keys, others, strict=True) if same}),
        "test_in_train": sum(any(codes[j] != 3 for j in others[i]) for i in range(90) if codes[i] == 3),
        "other_class": sum(any(labels[j] != labels[i] for j in others[i]) for i in range(90)),
    }


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"candidate": {"shared": 3}, "shared": {"candidate": 2}}, "3 candidate also among shared"),
        ({"extra": {"candidate": 1}, "candidate": {"extra": 1}}, "1 extra also among candidate"),
        ({"extra": {"shared": 4}, "shared": {"extra": 4}}, "4 extra also among shared"),
        ({}, None),
    ],
)
def test_copies_across_the_partition_are_a_caveat(tmp_path, table, said):
    study = make_study(tmp_path / "fake", samples=60, seeds=1, views=1)
    assert build_report(study)["data"] == {**dict.fromkeys(("images", "sizes", "splits", "passed_over", "copies")), "classes": 3}
    before = caveats(study.tree)
    assert not any(line.startswith("data:") for line in as_text(build_report(study)).splitlines())
    record = load(DataSpec(name="digits")).record
    record = {**record, "copies": {**record["copies"], "across": table}}
    store.set_attributes(study.results_path, {"data": json.dumps(record)})
    store.finish(study.results_path)
    report = build_report(Study(study.path))
    assert report["data"] == record
    found = [sentence for sentence in report["warnings"] if "exact copies" in sentence]
    assert len(report["warnings"]) == len(before) + bool(said)
    assert [said in sentence for sentence in found] == [True] * bool(said)
    assert "data: 1,797 images of 8 x 8 pixels, grey; 10 classes" in as_text(report)


# --- images that would fill the memory ---


def bomb(path: Path, width: int, height: int) -> Path:
    """A grey PNG of zeros, 1000 times smaller than its pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    packer, row = zlib.compressobj(9), bytes(width + 1)
    content = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b""))
    return path


def test_too_large_an_image_is_refused_by_name_and_size_before_it_is_decoded(tmp_path, monkeypatch):
    save(tmp_path / "a" / "0.png", picture(0))
    bomb(tmp_path / "a" / "1.png", 10_000, 9_000)
    decoded = []
    monkeypatch.setattr(
        "sslmem_kit.data.datasets.image_files.ImageOps.exif_transpose", lambda image, in_place: decoded.append(image.size)
    )
    with pytest.raises(UserError, match=r"a/1\.png \(10,000 x 9,000 pixels, at most 89,478,485 are decoded\)"):
        read(tmp_path)
    bomb(tmp_path / "a" / "1.png", 20_000, 10_000)
    with pytest.raises(UserError, match=r"a/1\.png \(Image size \(200000000 pixels\) exceeds limit"):
        read(tmp_path)
    assert set(decoded) == {(8, 8)}


def test_few_large_images_are_decoded_at_once(tmp_path):
    for number in range(6):
        bomb(tmp_path / "a" / f"{number}.png", 6_000, 5_000)
    code = (
        "import resource, sys; from sslmem_kit.data import load; from sslmem_kit.spec import DataSpec\n"
        "import sslmem_kit.data.datasets.image_files as images; images.cores = lambda: 6\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "data = load(DataSpec(name='folder:' + sys.argv[1], image_size=8), channels=3)\n"
        "print(len(data), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True).stdout.split()
    assert done[0] == "6"
    assert int(done[1]) < 600  # MB; six at once take 1,600
