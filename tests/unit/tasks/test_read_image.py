"""Pictures of every mode that files have, and labels that were stored with loss."""

import numpy as np
import pytest
from PIL import Image

from suite.base.errors import DataError
from tasks.vision.data import camvid
from tasks.vision.data.ade20k import SPEC as ADE20K
from tasks.vision.data.cityscapes import SPEC as CITYSCAPES
from tasks.vision.data.coco_stuff import SPEC as COCO_STUFF
from tasks.vision.data.official import read_label
from tasks.vision.data.read_image import read_ids, read_image

RAMP = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
GREY = (RAMP >> 8).astype(np.uint8)


def test_the_high_byte_of_16_bit_levels_is_taken(tmp_path):
    images = {
        "a.png": Image.fromarray(RAMP),
        "little.tif": Image.fromarray(RAMP),
        "big.tif": Image.frombytes("I;16B", (16, 16), RAMP.astype(">u2").tobytes()),
    }
    for name, image in images.items():
        image.save(tmp_path / name)
        read = np.asarray(read_image(tmp_path / name))
        assert read.shape == (16, 16, 3) and read.dtype == np.uint8
        assert (read == GREY[..., None]).all(), name


def test_levels_without_a_known_white_are_refused(tmp_path):
    for name, array in (("i.tif", RAMP.astype(np.int32)), ("f.tif", np.ones((4, 4), np.float32))):
        Image.fromarray(array).save(tmp_path / name)
        with pytest.raises(
            DataError, match=rf"{name} holds .* grey levels, .* save it with 8 or 16"
        ):
            read_image(tmp_path / name)


def with_alpha(mode):
    image = Image.new(mode, (4, 4), {"LA": (90, 0), "RGBA": (10, 20, 30, 0)}[mode])
    image.putpixel((0, 0), {"LA": (90, 255), "RGBA": (10, 20, 30, 255)}[mode])
    return image


def palette():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return image


@pytest.mark.parametrize(
    ("name", "image", "options", "colour"),
    [
        ("l.png", lambda: Image.new("L", (4, 4), 90), {}, (90, 90, 90)),
        ("1.png", lambda: Image.new("1", (4, 4), 1), {}, (255, 255, 255)),
        # what nobody sees is shown as it would be opaque: no black or white comes in
        ("la.png", lambda: with_alpha("LA"), {}, (90, 90, 90)),
        ("rgba.png", lambda: with_alpha("RGBA"), {}, (10, 20, 30)),
        ("p.png", palette, {}, (10, 20, 30)),
        ("transparent.png", palette, {"transparency": 1}, (10, 20, 30)),
        ("p.gif", palette, {"transparency": 1}, (10, 20, 30)),
        ("cmyk.tif", lambda: Image.new("CMYK", (4, 4), (0, 255, 255, 0)), {}, (255, 0, 0)),
        ("cmyk.jpg", lambda: Image.new("CMYK", (4, 4), (0, 255, 255, 0)), {"quality": 100}, (255, 0, 0)),
        ("grey.jpg", lambda: Image.new("L", (4, 4), 90), {"quality": 100}, (90, 90, 90)),
    ],
)  # fmt: skip
def test_other_modes_become_rgb(tmp_path, name, image, options, colour):
    image().save(tmp_path / name, **options)
    with read_image(tmp_path / name) as read:
        assert read.mode == "RGB"
        assert np.abs(np.asarray(read).astype(int) - colour).max() <= 2


LABEL = np.full((64, 64), 2, np.uint8)
LABEL[5:29, 7:40] = 8
LABEL[33:50, 11:61] = 5
LOSSY = [
    ("JPEG", {"quality": 90}),
    ("JPEG", {"quality": 100}),
    ("JPEG2000", {"quality_mode": "rates", "quality_layers": [20]}),
    ("TIFF", {"compression": "jpeg"}),
    ("WEBP", {"quality": 50}),
]


@pytest.mark.parametrize(("format", "options"), LOSSY)
def test_a_label_that_was_stored_with_loss_is_refused_by_every_reader(tmp_path, format, options):
    path = tmp_path / "a.png"
    Image.fromarray(LABEL).save(path, format=format, **options)
    readers = [camvid.read_label] + [
        lambda path, form=form: read_label(path, form)
        for spec in (ADE20K, CITYSCAPES, COCO_STUFF)
        for form in spec.labels
    ]
    for read in readers:
        with pytest.raises(DataError, match="is no label image: "):
            read(path)


@pytest.mark.parametrize(
    ("format", "options"),
    [("PNG", {}), ("PNG", {"optimize": True}), ("BMP", {}), ("TIFF", {}), ("PPM", {}), ("TGA", {}),
     ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "tiff_adobe_deflate"})],
)  # fmt: skip
def test_a_label_that_kept_its_ids_is_read_whatever_it_is_called(tmp_path, format, options):
    Image.fromarray(LABEL).save(tmp_path / "a.png", format=format, **options)
    assert (read_ids(tmp_path / "a.png", range(9)) == LABEL).all()


def test_a_deep_check_names_it(tmp_path):
    """As that of pictures: the label lies among sound ones."""
    path = tmp_path / "train_0.png"
    Image.fromarray(LABEL).save(path, format="JPEG")
    with pytest.raises(DataError) as caught:
        read_ids(path, range(9))
    assert str(caught.value) == (
        f"{path} is no label image: stored as JPEG, which keeps no ids at the edges of classes; copy the original again"
    )
