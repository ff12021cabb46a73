"""Collections of image files: what is kept of an image, how each kind of collection is read, and which are refused."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_files import CLASSES, cifar_pixels, crop, encoded, packed, photographs, write_cifar10, write_cifar100, write_classes, write_table
from PIL import Image, ImageOps

from trainer.packing.decoding import decode
from trainer.splits import TEST, TRAIN, VALIDATION


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "photos", each=8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_kept_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(photographs()[0][:90, :121]), exif=exif)
    with Image.open(io.BytesIO(data)) as stored:
        upright = encoded(ImageOps.exif_transpose(stored))
    # Pillow rounds after the rows and again after the columns, so a turn moves some values by one.
    np.testing.assert_allclose(decode(data, 32)[0].astype(int), decode(upright, 32)[0].astype(int), atol=1)


@pytest.mark.parametrize(("width", "height"), [(96, 48), (48, 96), (65, 48)])
def test_the_centre_is_kept(width: int, height: int) -> None:
    pixels = np.full((height, width, 3), (255, 0, 0), np.uint8)
    top, left = (height - 48) // 2, (width - 48) // 2
    pixels[top : top + 48, left : left + 49] = (0, 0, 255)
    kept, small = decode(encoded(Image.fromarray(pixels)), 32)
    assert not small
    assert kept.shape == (3, 32, 32)
    np.testing.assert_array_equal(kept[:, 2:-2, 2:-2].reshape(3, -1).T, np.full((28 * 28, 3), (0, 0, 255)))


def test_a_large_photograph_shrinks_to_what_averaging_its_pixels_gives() -> None:
    photograph = Image.fromarray(photographs()[0][:416, :416])
    average = np.asarray(photograph, float).reshape(32, 13, 32, 13, 3).mean((1, 3)).transpose(2, 0, 1)
    for data in (encoded(photograph), encoded(photograph, "JPEG", quality=95)):  # the second at a fraction of its size
        kept, _ = decode(data, 32)
        assert np.abs(kept - average).mean() < 6


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_kind_of_pixels_becomes_rgb_of_the_same_brightness(mode: str) -> None:
    grey = crop(0, 0, 64).convert("L")
    if mode == "I;16":
        image, kind = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG"
    else:
        image, kind = grey.convert("RGB").convert(mode), "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    kept, _ = decode(encoded(image, kind), 32)
    assert kept.shape == (3, 32, 32)
    assert abs(float(kept.mean()) - float(np.asarray(grey).mean())) < 4


def test_a_small_image_is_enlarged_and_counted(tmp_path: Path, photos: Path) -> None:
    (photos / "lamp" / "tiny.png").write_bytes(encoded(crop(2, 0, 20)))
    assert packed(f"imagefolder:{photos}", tmp_path / "out").meta.smaller == 1
    assert packed(f"imagefolder:{photos}", tmp_path / "large", size=64).meta.smaller == 25


def test_a_damaged_note_of_the_camera_does_not_damage_the_image(tmp_path: Path, photos: Path) -> None:
    first = photos / "china" / "000.jpg"
    first.write_bytes(encoded(crop(0, 0), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff broken"))
    data = packed(f"imagefolder:{photos}", tmp_path / "out")
    assert data.meta.damaged == ()
    np.testing.assert_array_equal(data.images[0], decode(encoded(crop(0, 0), "JPEG"), 32)[0])


def test_class_folders_without_splits_are_packed_in_order(tmp_path: Path, photos: Path) -> None:
    data = packed(f"imagefolder:{photos}/", tmp_path / "out")
    assert data.meta.class_names == CLASSES
    assert data.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert set(data.splits) == {TRAIN}
    np.testing.assert_array_equal(data.images[9], decode((photos / "flower" / "001.png").read_bytes(), 32)[0])


@pytest.mark.parametrize("name", ["val", "validation"])
def test_folders_of_splits_are_kept(tmp_path: Path, name: str) -> None:
    for split, each in (("train", 4), (name, 2), ("test", 1)):
        write_classes(tmp_path / "photos" / split, each=each)
    data = packed(f"imagefolder:{tmp_path / 'photos'}", tmp_path / "out")
    assert [(data.splits == code).sum() for code in (TRAIN, VALIDATION, TEST)] == [12, 6, 3]
    assert data.labels[data.splits == VALIDATION].tolist() == [0, 0, 1, 1, 2, 2]


def test_train_and_test_may_be_classes(tmp_path: Path) -> None:
    write_classes(tmp_path / "signs", each=5, classes=("bus", "test", "train"))
    assert packed(f"imagefolder:{tmp_path / 'signs'}", tmp_path / "out").meta.class_names == ("bus", "test", "train")


def test_images_in_deeper_folders_belong_to_the_class_above_and_hidden_ones_to_none(tmp_path: Path, photos: Path) -> None:
    shutil.copytree(photos / "china", photos / "china" / "deeper")
    (photos / ".thumbnails").mkdir()
    (photos / "lamp" / "._000.jpg").write_bytes(b"a note of the file system")
    assert np.bincount(packed(f"imagefolder:{photos}", tmp_path / "out").labels).tolist() == [16, 8, 8]


@pytest.mark.parametrize("inside", ["", "cifar-10-batches-bin"])
def test_cifar_10_is_read_byte_by_byte(tmp_path: Path, inside: str) -> None:
    write_cifar10(tmp_path / "cifar" / inside)
    data = packed(f"cifar10:{tmp_path / 'cifar'}", tmp_path / "out")
    assert data.meta.class_names == tuple(f"thing {label}" for label in range(10))
    assert data.labels.tolist() == list(range(10)) * 12
    assert data.splits.tolist() == [TRAIN] * 100 + [TEST] * 20
    np.testing.assert_array_equal(data.images, [cifar_pixels(number) for number in range(120)])  # 32 pixels: not resampled
    assert packed(f"cifar10:{tmp_path / 'cifar'}", tmp_path / "large", size=48).images.shape == (120, 3, 48, 48)


def test_cifar_100_has_its_fine_labels(tmp_path: Path) -> None:
    data = packed(f"cifar100:{write_cifar100(tmp_path / 'cifar')}", tmp_path / "out")
    assert data.labels.tolist() == list(range(100)) * 6
    assert data.meta.class_names[7] == "7"


def test_tables_are_split_by_the_names_of_their_files(tmp_path: Path) -> None:
    images = [encoded(crop(number % 3, number)) for number in range(45)]
    names = ("a", "b", "c")
    for file, (start, stop) in {"train-0-of-2": (0, 18), "train-1-of-2": (18, 33), "validation-0": (33, 39), "test-0": (39, 45)}.items():
        labels = [-1 if file == "test-0" else number % 3 for number in range(start, stop)]  # as where a contest withholds them
        write_table(tmp_path / "hub" / "data" / f"{file}.parquet", images[start:stop], labels, names=names)
    data = packed(f"parquet:{tmp_path / 'hub'}", tmp_path / "out")
    assert data.meta.class_names == names
    assert data.meta.unlabelled == 6
    assert [(data.splits == code).sum() for code in (TRAIN, VALIDATION, TEST)] == [33, 6, 0]
    np.testing.assert_array_equal(data.images, [decode(image, 32)[0] for image in images[:39]])


def test_one_table_of_plain_bytes_and_any_whole_labels_is_enough(tmp_path: Path) -> None:
    images = [encoded(crop(number % 2, number)) for number in range(12)]
    table = write_table(tmp_path / "one.parquet", images, [(3, 70)[n % 2] for n in range(12)], plain=True, columns=("img", "fine_label"))
    data = packed(f"parquet:{table}", tmp_path / "out")
    assert data.meta.class_names == ("3", "70")
    assert data.labels.tolist() == [0, 1] * 6


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    for kind in ("imagefolder", "cifar10", "cifar100"):
        with pytest.raises(ValueError, match=f"no folder at {tmp_path}/nowhere"):
            packed(f"{kind}:{tmp_path}/nowhere", tmp_path / "out")
    with pytest.raises(ValueError, match=f"no file or folder at {tmp_path}/nowhere"):
        packed(f"parquet:{tmp_path}/nowhere", tmp_path / "out")


def empty_class(photos: Path) -> None:
    (photos / "empty").mkdir()


def flat(photos: Path) -> None:
    for folder in list(photos.iterdir()):
        shutil.rmtree(folder)
    (photos / "1.png").write_bytes(encoded(crop(0, 0)))


def one_class(photos: Path) -> None:
    shutil.rmtree(photos / "flower")
    shutil.rmtree(photos / "lamp")


def rare_class(photos: Path) -> None:
    for number in range(4):
        (photos / "lamp" / f"{number:03}.{('jpg', 'png')[number % 2]}").unlink()


def other_classes(photos: Path) -> None:
    for split, names in (("train", CLASSES), ("val", ("china", "flower", "tree"))):
        write_classes(photos / split, each=1, classes=names)
    for name in CLASSES:
        shutil.rmtree(photos / name)


def other_folder(photos: Path) -> None:
    write_classes(photos / "train", each=1)


def no_train(photos: Path) -> None:
    write_classes(photos / "val", each=1)


def flat_test(photos: Path) -> None:
    write_classes(photos / "train", each=1)
    for name in CLASSES:
        shutil.rmtree(photos / name)
    (photos / "test").mkdir()
    (photos / "test" / "1.png").write_bytes(encoded(crop(0, 0)))


def all_damaged(photos: Path) -> None:
    for image in photos.glob("*/0*"):
        image.write_bytes(b"\xff\xd8\xff damaged")


def class_damaged(photos: Path) -> None:
    for image in photos.glob("lamp/0*"):
        image.write_bytes(b"\xff\xd8\xff damaged")


def odd_name(photos: Path) -> None:
    (photos / "lamp").rename(photos / "la\nmp")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (odd_name, r"class names must be texts without control characters, got 'la\\nmp'"),
        (flat, "no class folders in .*; images lie in .*/CLASS or .*/train/CLASS"),
        (empty_class, "no images in the class folders empty of .*; endings known: .bmp .gif"),
        (one_class, "at least 2 classes, got 1: china"),
        (rare_class, "train needs at least 5 of every class to cut a validation from, got 4 of class 'lamp'"),
        (other_classes, "the classes of validation differ from those of train: it lacks lamp and has besides tree"),
        (other_folder, "holds other folders beside those of the splits: china, flower, lamp"),
        (no_train, "no folder train in .*, beside val"),
        (flat_test, "no class folders in .*/test"),
        (all_damaged, "every image of imagefolder:.* is damaged, such as china/000.jpg: no image in a known format"),
        (class_damaged, "without its 8 damaged images: train needs at least 5 .*, got 0 of class 'lamp'"),
    ],
)
def test_unsuitable_folders_are_refused_in_one_line(tmp_path: Path, photos: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(photos)
    with pytest.raises(ValueError, match=message) as refused:
        packed(f"imagefolder:{photos}", tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_unsuitable_cifar_files_are_refused(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path / "cifar")
    spec = f"cifar10:{folder}"
    batch = folder / "data_batch_2.bin"
    whole = batch.read_bytes()
    batch.write_bytes(whole[:-1])
    with pytest.raises(
        ValueError, match=r"data_batch_2.bin must hold whole records of 3073 bytes, got 61459 bytes; unpack cifar-10-binary"
    ):
        packed(spec, tmp_path / "out")
    batch.write_bytes(bytes([10]) + whole[1:])
    with pytest.raises(ValueError, match=r"labels in .*data_batch_2.bin must be below 10, got 10"):
        packed(spec, tmp_path / "out")
    batch.unlink()
    with pytest.raises(ValueError, match=r"no file data_batch_2.bin in .*; unpack cifar-10-binary.tar.gz"):
        packed(spec, tmp_path / "out")
    (folder / "data_batch_1").write_bytes(b"\x80\x02}q\x01")
    with pytest.raises(ValueError, match=r"Python version, whose pickles .* never read; unpack cifar-10-binary.tar.gz .binary."):
        packed(spec, tmp_path / "out")
    with pytest.raises(ValueError, match=r"no file train.bin"):
        packed(f"cifar100:{folder}", tmp_path / "out")
    batch.write_bytes(whole)
    (folder / "batches.meta.txt").write_text("airplane\n")
    with pytest.raises(ValueError, match="must name 10 classes, got 1"):
        packed(spec, tmp_path / "out")
    assert not (tmp_path / "out.partial").exists()


def test_unsuitable_tables_are_refused(tmp_path: Path) -> None:
    data = [encoded(crop(number % 2, number)) for number in range(10)]
    labels = [0, 1] * 5
    hub = tmp_path / "hub"

    def refused(message: str) -> None:
        with pytest.raises(ValueError, match=message) as error:
            packed(f"parquet:{hub}", tmp_path / "out")
        assert "\n" not in str(error.value)
        shutil.rmtree(hub)

    hub.mkdir()
    refused("no files .*parquet in .* or in its folder data")
    write_table(hub / "a.parquet", data, labels, columns=("picture", "label"))
    refused("a.parquet has no column image or img; it has picture, label")
    write_table(hub / "a.parquet", data, labels, columns=("image", "target"))
    refused("has no column label or fine_label; it has image, target")
    write_table(hub / "a.parquet", data, ["x", "y"] * 5)
    refused("column 'label' of .* must hold whole numbers, got string")
    write_table(hub / "a.parquet", [str(n) for n in range(10)], labels, plain=True)  # type: ignore[misc]
    refused("column 'image' of .* must hold encoded images .*, got string")
    write_table(hub / "a.parquet", data, [0, None] * 5)
    refused("must have a label in every row, got 5 without")
    write_table(hub / "a.parquet", data, [0, 2] * 5, names=("a", "b"))
    refused("labels must lie from 0 to 1, got 2")
    write_table(hub / "a.parquet", data, labels, names=("a", "b", "c"))
    refused("at least 5 of every class to cut a validation from, got 0 of class 'c'")
    write_table(hub / "train-0.parquet", data, labels)
    write_table(hub / "other.parquet", data, labels)
    refused("other.parquet begins with none of train, validation, test")
    write_table(hub / "train-0.parquet", data, labels, names=("a", "b"))
    write_table(hub / "train-1.parquet", data, labels, names=("b", "a"))
    refused("name different classes")
    write_table(hub / "a.parquet", data, labels, names=("a", "a"))
    refused("class names must differ, got 'a' 2 times")
    path = write_table(hub / "a.parquet", data, labels)
    path.write_bytes(path.read_bytes()[:-100])
    refused("cannot read .*a.parquet")
    assert list(tmp_path.iterdir()) == []
