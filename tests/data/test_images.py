import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from aljax.data import images
from aljax.data.sources.base import Request
from tests.harness import ROOT

COLOUR = Request("pets", 8, 3)
GREY = Request("pets", 8, 1)


@pytest.mark.parametrize(
    "suffix",
    ["png", "PNG", "apng", "bmp", "BMP", "tif", "TIFF", "tiff", "ppm", "tga", "dib", "pcx", "sgi", "ico"],
)
def test_formats_without_loss(tmp_path, save, noise, suffix):
    path = tmp_path / f"0.{suffix}"
    size = 16 if suffix == "ico" else 8
    save(path, noise(size, size, 3))
    assert path.suffix.lower() in images.suffixes()
    read = images.read(str(path), Request("", size, 3))
    assert np.array_equal(read, noise(size, size, 3))


@pytest.mark.parametrize("suffix", ["jpg", "JPG", "jpeg", "jfif", "jpe", "webp", "jp2", "gif"])
def test_formats_with_loss(tmp_path, save, suffix):
    path = tmp_path / f"0.{suffix}"
    ramp = np.repeat(np.arange(0, 256, 32, np.uint8), 8).reshape(8, 8)
    save(path, ramp)
    assert path.suffix.lower() in images.suffixes()
    assert np.abs(images.read(str(path), GREY)[..., 0].astype(int) - ramp).max() <= 6


@pytest.mark.parametrize(
    "suffix", [".eps", ".ps", ".h5", ".hdf", ".mpg", ".emf", ".wmf", ".grib", ".pdf", ".txt"]
)
def test_what_pillow_only_identifies_or_lets_others_decode_is_no_image(suffix):
    assert suffix not in images.suffixes()


def test_a_renamed_postscript_file_is_not_run(tmp_path):
    (tmp_path / "0.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(images.UnreadableImageError, match="not of a format that Pillow reads"):
        images.read(str(tmp_path / "0.png"), GREY)


# mode, value of each pixel, suffix, background, and the grey or colour that is read
MODES = {
    "grey": ("L", 77, "png", 0, 77),
    "bit": ("1", 1, "png", 0, 255),
    "colour": ("RGB", (1, 2, 3), "png", 0, (1, 2, 3)),
    "inks": ("CMYK", (0, 0, 0, 55), "tif", 0, 200),
    "16 bits": ("I;16", 25_700, "png", 0, 100),
    "16 bits, black": ("I;16", 128, "tif", 0, 0),
    "16 bits, not quite black": ("I;16", 129, "tif", 0, 1),
    "16 bits, white": ("I;16", 65_535, "png", 0, 255),
    "32 bits": ("I", 65_535, "tif", 0, 255),
    "float": ("F", 0.2, "tif", 0, 51),
    "float, white": ("F", 1.0, "tif", 0, 255),
    "opaque": ("RGBA", (10, 20, 30, 255), "png", 99, (10, 20, 30)),
    "transparent on black": ("RGBA", (200, 200, 200, 0), "png", 0, 0),
    "transparent on white": ("RGBA", (200, 200, 200, 0), "png", 255, 255),
    "half transparent": ("RGBA", (200, 100, 0, 128), "png", 0, (100, 50, 0)),
    "grey, half transparent": ("LA", (200, 128), "png", 0, 100),
    "float, above 1": ("F", 1.5, "tif", 0, "pixels of type float32 from 1.5 to 1.5; accepted: 0 to 1"),
    "float, below 0": ("F", -0.5, "tif", 0, "from -0.5 to -0.5; accepted: 0 to 1"),
    "no number": ("F", math.nan, "tif", 0, "from nan to nan; accepted: 0 to 1"),
    "32 bits, too large": ("I", 70_000, "tif", 0, "from 70000 to 70000; accepted: 0 to 65,535"),
    "32 bits, below 0": ("I", -1, "tif", 0, "from -1 to -1; accepted: 0 to 65,535"),
}


@pytest.mark.parametrize("case", MODES)
def test_modes(tmp_path, case):
    mode, value, suffix, background, expected = MODES[case]
    path = tmp_path / f"0.{suffix}"
    Image.new(mode, (8, 8), value).save(path)
    request = COLOUR._replace(background=background)
    if isinstance(expected, str):
        with pytest.raises(images.UnreadableImageError) as refusal:
            images.read(str(path), request)
        assert expected in str(refusal.value)
    else:
        pixels = images.read(str(path), request)
        assert pixels.dtype == np.uint8
        assert np.array_equal(pixels, np.broadcast_to(expected, (8, 8, 3)))


def test_a_transparent_entry_of_a_palette(tmp_path):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.paste(0, (0, 0, 8, 4))
    for suffix in ("png", "gif"):
        image.save(tmp_path / f"0.{suffix}", transparency=0)
        read = images.read(str(tmp_path / f"0.{suffix}"), COLOUR._replace(background=255))
        assert np.all(read[:4] == 255)
        assert np.array_equal(read[4:], np.broadcast_to((200, 10, 10), (4, 8, 3)))


def test_of_an_animation_the_first_frame_counts(tmp_path):
    first, second = (Image.new("L", (8, 8), grey) for grey in (10, 250))
    for suffix in ("gif", "tif", "webp"):
        options = {"lossless": True} if suffix == "webp" else {}
        first.save(tmp_path / f"0.{suffix}", save_all=True, append_images=[second], **options)
        assert np.all(images.read(str(tmp_path / f"0.{suffix}"), GREY) == 10)


def test_a_turned_photograph_is_turned_back(tmp_path, save):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[0] = 255  # the top row is white
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn a quarter clockwise to see it right"
    save(tmp_path / "0.png", pixels, exif=exif)
    image = images.read(str(tmp_path / "0.png"), COLOUR)
    assert image[:, -1].min() == 255
    assert image[:, 0].max() == 0


def test_a_bomb_is_not_decoded(tmp_path):
    Image.new("1", (9000, 8000)).save(tmp_path / "0.png")
    with pytest.raises(images.UnreadableImageError, match="9000 x 8000 pixels; accepted: at most 64,000,000"):
        images.read(str(tmp_path / "0.png"), COLOUR)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (8, 8, 4), (5, 11, 3)])
def test_arrays_are_fitted_too(noise, shape):
    for request in (COLOUR, GREY):
        pixels = images.fitted(noise(*shape), request)
        assert pixels.shape == (8, 8, request.channels)


@given(
    hnp.arrays(st.sampled_from([np.uint16, np.int32, np.int64, ">u2"]), 5, elements=st.integers(0, 32_767))
)
@example(np.arange(65_536, dtype=np.uint16))
def test_integers_are_scaled_to_the_nearest(pixels):
    assert np.array_equal(images.eight_bit(pixels), np.floor(pixels.astype(int) / 257 + 0.5))


@given(
    hnp.arrays(st.sampled_from([np.float16, np.float32, np.float64]), 5, elements=st.floats(0, 1, width=16))
)
def test_numbers_are_scaled_to_the_nearest(pixels):
    assert np.abs(images.eight_bit(pixels) - 255.0 * pixels).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("pixels", [np.zeros(2, bool), np.zeros(2, complex), np.array([0, np.inf])])
def test_pixels_of_other_types_are_refused(pixels):
    with pytest.raises(images.UnreadableImageError, match="accepted"):
        images.eight_bit(pixels)


@given(
    st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.permutations(range(n)), st.integers(0, n)))
)
def test_rows_are_taken_in_place(case):
    size, order, count = case
    pixels = np.random.default_rng(size).integers(0, 256, (size, 3, 3, 1), np.uint8)
    expected = pixels[list(order[:count])]
    taken = images.taken(pixels, np.array(order[:count], int))
    assert np.array_equal(taken, expected)
    assert taken.base is pixels or taken is pixels


@pytest.fixture
def many(tmp_path, save):
    for row in range(40):
        save(tmp_path / f"{row:02d}.png", np.full((8, 8), row, np.uint8))
    (tmp_path / "07.png").write_bytes(b"")
    (tmp_path / "33.png").write_bytes((tmp_path / "34.png").read_bytes()[:50])
    return sorted(map(str, tmp_path.iterdir()))


@pytest.mark.parametrize("cores", [1, 3])
def test_many_files_are_read_alike_by_one_process_and_by_several(monkeypatch, capfd, many, cores):
    monkeypatch.setattr(images, "CHUNK", (4, 2**22))
    monkeypatch.setattr(images.workers, "cores", lambda: cores)
    pixels, unreadable = images.read_all(many, GREY, "reading")
    assert list(unreadable) == [7, 33]
    assert unreadable[7] == "not of a format that Pillow reads"
    whole = np.setdiff1d(np.arange(40), [7, 33])
    assert np.array_equal(pixels[whole], np.broadcast_to(whole[:, None, None, None], (38, 8, 8, 1)))
    assert capfd.readouterr() == ("", "")  # a progress bar is for a terminal


def test_large_files_and_large_images_come_in_small_chunks(tmp_path, many):
    assert images._chunk(many, image_bytes=64) == 256
    assert images._chunk(many, image_bytes=2**20) == 4
    (tmp_path / "large").write_bytes(bytes(3_000_000))
    assert images._chunk([str(tmp_path / "large")] * 3, image_bytes=64) == 1
    assert images._chunk([str(tmp_path / "absent")], image_bytes=64) == 256
    assert images._chunk([], image_bytes=0) == 256


PROGRAM = """
import json, sys
from aljax.data import images
from aljax.data.sources.base import Request
images.CHUNK = 4, 2**22
print(images.read_all(json.loads(sys.argv[1]), Request("", 8, 1), "reading")[0].sum())
"""


def test_a_program_without_a_main_guard_may_load_images(tmp_path, many):
    """Processes of multiprocessing would run it again."""
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), json.dumps(many)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == f"{64 * (sum(range(40)) - 7 - 33)}\n"
