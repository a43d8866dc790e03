"""Reading and writing image files: what comes out, and everything that is refused."""

import contextlib
import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageOps

from labkit.errors import ImageRefused, Refused
from labkit.filters import decode, encode

SEED = 99
LIMITS = {"max_bytes": 2_000_000, "max_pixels": 1_000_000}
FORMATS = ["JPEG", "PNG", "WEBP"]


@pytest.fixture
def rng():
    print(f"seed {SEED}")
    return np.random.default_rng(SEED)


def picture(*channels, height=48, width=64):
    """Smooth and with no symmetry, so that a lossy format keeps it and any turn shows."""
    y, x = np.mgrid[:height, :width]
    planes = [x * 3 + y, 255 - x * 2 - y, y * 5 - x // 2, 255 - y * 4]
    stack = np.clip(np.stack(planes, axis=-1), 0, 255).astype(np.uint8)
    return stack[..., : channels[0]] if channels else stack[..., 0]


def file(pixels, form, **options):
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Pillow.Image) else Pillow.fromarray(pixels)
    image.save(stream, form, **options)
    return stream.getvalue()


def png(width, height, depth, rows, extra=b""):
    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    data = chunk(b"IDAT", rows)
    end = chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + data + end


def rgb(image):
    """From OpenCV's order of channels to Pillow's."""
    if image.ndim == 2:
        return image
    return image[..., [2, 1, 0, 3][: image.shape[2]]]


def refused(data, reason, **limits):
    with pytest.raises(ImageRefused, match=reason) as caught:
        decode(data, **(LIMITS | limits))
    what, why, todo = str(caught.value).split("\n", 2)
    assert what
    assert why
    assert todo


@pytest.mark.parametrize(
    ("form", "channels"),
    [("PNG", ()), ("PNG", (3,)), ("PNG", (4,)), ("WEBP", (3,)), ("WEBP", (4,))],
)
def test_an_exact_file_gives_exactly_its_pixels_in_its_layout(form, channels):
    pixels = picture(*channels)
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    image = decode(file(pixels, form, **options), **LIMITS)
    assert image.flags.c_contiguous
    assert np.array_equal(rgb(image), pixels)


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_gives_what_another_decoder_gives(channels, progressive):
    data = file(picture(*channels), "JPEG", quality=90, progressive=progressive)
    other = np.asarray(Pillow.open(io.BytesIO(data)))
    image = decode(data, **LIMITS)
    assert image.shape == other.shape
    assert np.abs(rgb(image).astype(int) - other).max() <= 4


@pytest.mark.parametrize("mode", ["1", "P", "LA", "CMYK"])
def test_rarer_kinds_of_pixels_become_one_of_the_three_layouts(mode):
    source = Pillow.fromarray(picture(3)).convert(mode)
    image = decode(file(source, "JPEG" if mode == "CMYK" else "PNG"), **LIMITS)
    assert image.dtype == np.uint8
    assert image.shape[2:] == {"1": (), "P": (3,), "LA": (4,), "CMYK": (3,)}[mode]
    other = source.convert({"1": "L", "LA": "RGBA"}.get(mode, "RGB"))
    assert np.abs(rgb(image).astype(int) - np.asarray(other)).max() <= (8 if mode == "CMYK" else 0)


def test_sixteen_bits_are_rounded_to_eight(rng):
    levels = rng.integers(0, 65536, (20, 30), dtype=np.uint16)
    levels[0, :2] = 0, 65535
    image = decode(file(levels, "PNG"), **LIMITS)
    assert np.array_equal(image, np.rint(levels / 257))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_comes_out_upright(form, orientation):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    data = file(picture(3), form, exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Pillow.open(io.BytesIO(data))))
    image = decode(data, **LIMITS)
    assert image.shape == expected.shape
    assert np.abs(rgb(image).astype(int) - expected).max() <= 4


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_is_read_in_both_byte_orders(order):
    entries = struct.pack(f"{order}HHHIHH", 1, 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0" + {"<": b"II", ">": b"MM"}[order]
    exif += struct.pack(f"{order}HI", 42, 8) + entries
    assert decode(file(picture(), "JPEG", exif=exif), **LIMITS).shape == (64, 48)


@pytest.mark.parametrize(
    "exif", [b"", b"II", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", b"garbage" * 9]
)
def test_a_damaged_exif_block_leaves_the_picture_as_stored(exif):
    data = file(picture(), "JPEG", exif=b"Exif\0\0" + exif)
    assert decode(data, **LIMITS).shape == (48, 64)


def test_a_phone_may_append_to_its_jpeg():
    data = file(picture(3), "JPEG")
    for tail in (b"\0" * 40, b"SEFT depth map", data):
        assert np.array_equal(decode(data + tail, **LIMITS), decode(data, **LIMITS))


def test_an_empty_file_is_refused():
    refused(b"", "0 bytes")


@pytest.mark.parametrize(
    "data",
    [b"x", b"hello, world" * 50, b"GIF89a" + bytes(50), b"BM" + bytes(80), b"\0" * 1000,
     b"RIFF\x20\0\0\0WAVE" + bytes(40), b"<svg width='9' height='9'/>"],
)  # fmt: skip
def test_what_is_not_jpeg_png_or_webp_is_refused(data):
    refused(data, "not a JPEG, PNG or WebP")


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused_even_if_opencv_reads_them(form):
    refused(file(picture(3), form), "not a JPEG, PNG or WebP")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_cut_short_is_refused(form, part, progressive, rng):
    pixels = rng.integers(0, 256, (80, 80, 3), dtype=np.uint8)
    data = file(pixels, form, **({"progressive": progressive} if form == "JPEG" else {}))
    refused(data[: int(len(data) * part)], "end is missing")


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_without_its_last_byte_is_refused(form):
    refused(file(picture(3, height=47), form)[:-1], "end is missing")


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_jpeg():
    thumbnail = file(picture(3), "JPEG")
    data = file(picture(3), "JPEG", exif=b"Exif\0\0" + thumbnail)
    assert decode(data, **LIMITS).shape == (48, 64, 3)
    refused(data[:-100], "end is missing")


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_an_animation_is_refused(form):
    frames = [Pillow.fromarray(picture(3)), Pillow.fromarray(picture(3)[::-1])]
    refused(file(frames[0], form, save_all=True, append_images=frames[1:]), "animated")


def test_the_number_of_bytes_is_checked_first():
    refused(bytes(2_000_001), "2000001 bytes; the limit is 2000000")


def test_the_number_of_pixels_is_checked():
    data = file(picture(3), "PNG")
    assert decode(data, max_bytes=10**6, max_pixels=48 * 64).shape == (48, 64, 3)
    refused(data, "64 x 48 pixels; the limit is 3071", max_pixels=48 * 64 - 1)


def test_a_header_without_a_size_is_refused():
    refused(png(0, 0, 8, b""), "header")
    refused(b"\xff\xd8\xff\xda\0\x02\xff\xd9", "header")
    refused(b"RIFF\x0c\0\0\0WEBPVP9 \0\0\0\0", "header")


def test_a_size_that_does_not_fit_the_data_is_refused():
    data = file(picture(3), "PNG")
    refused(data.replace(struct.pack(">II", 64, 48), struct.pack(">II", 64, 49)), "damaged")
    refused(png(8, 8, 8, zlib.compress(bytes(9))), "damaged")
    refused(png(8, 8, 8, b"not deflate"), "damaged")


@given(data=st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_damage_anywhere_gives_an_image_or_a_refusal_never_another_error(data):
    form = data.draw(st.sampled_from(FORMATS))
    broken = bytearray(file(picture(3), form))
    for _again in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageRefused):
        assert decode(bytes(broken), **LIMITS).dtype == np.uint8


# The peak of this process alone: ru_maxrss would carry over the peak of pytest.
MEASURE = """
import re, sys
from labkit.errors import ImageRefused
from labkit.filters import decode
def peak_kb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
data = sys.stdin.buffer.read()
before = peak_kb()
try:
    decode(data, max_bytes=10**6, max_pixels=int(sys.argv[1]))
    said = "decoded"
except ImageRefused as error:
    said = error.why.replace("\\n", " ")
print(peak_kb() - before)
print(said)
"""


def peak_growth_kb(side, max_pixels):
    rows = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    packed = b"".join(rows.compress(row) for _ in range(side)) + rows.flush()
    bomb = png(side, side, 1, packed)
    assert len(bomb) < 60_000
    command = [sys.executable, "-c", MEASURE, str(max_pixels)]
    run = subprocess.run(command, input=bomb, capture_output=True, check=True)
    growth, said = run.stdout.decode().splitlines()
    return int(growth), said


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_decompression_bomb_is_refused_before_it_takes_memory():
    growth_kb, said = peak_growth_kb(8_000, 10**8)
    assert said == "decoded"
    assert growth_kb > 50_000, "the measure sees an image of 64 MB"
    growth_kb, said = peak_growth_kb(20_000, 25_000_000)
    assert "20000 x 20000 pixels" in said
    assert growth_kb < 2_000
    growth_kb, said = peak_growth_kb(20_000, 10**9)  # limits set too high by hand
    assert "CV_IO_MAX_IMAGE_PIXELS" in said
    assert growth_kb < 20_000


@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_png_keeps_every_level(channels, rng):
    image = rng.integers(0, 256, (20, 30, *channels), dtype=np.uint8)
    data = encode(image, "png")
    assert np.array_equal(decode(data, **LIMITS), image)
    assert np.array_equal(np.asarray(Pillow.open(io.BytesIO(data))), rgb(image))


@pytest.mark.parametrize("channels", [(), (3,)])
def test_jpg_is_close_and_closer_with_more_quality(channels):
    image = picture(*channels)

    def error(quality):
        other = np.asarray(Pillow.open(io.BytesIO(encode(image, "jpg", quality))))
        assert other.shape == image.shape
        return np.abs(other.astype(float) - rgb(image)).mean()

    assert error(95) < 3
    assert error(95) < error(30)


def test_jpg_lays_transparency_on_white():
    image = np.zeros((48, 64, 4), np.uint8)
    image[:, :32] = 10, 20, 200, 255
    image[:16, :32, 3] = 51  # a fifth
    other = np.asarray(Pillow.open(io.BytesIO(encode(image, "jpg", 100)))).astype(int)
    assert np.abs(other[20:, 36:] - 255).max() <= 3
    assert np.abs(other[20:, :28] - [200, 20, 10]).max() <= 6
    assert np.abs(other[:12, :28] - [244, 208, 206]).max() <= 6


@pytest.mark.parametrize("view", [np.s_[::-1, ::-1], np.s_[::2, 1::3]])
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_encode_takes_any_memory_layout(view, channels):
    image = picture(*channels)[view]
    assert encode(image, "png") == encode(image.copy(), "png")


@pytest.mark.parametrize("output", ["jpeg", "JPG", "webp", "", None, ".png"])
def test_encode_refuses_another_output(output):
    with pytest.raises(Refused, match="jpg, png"):
        encode(picture(), output)


@pytest.mark.parametrize("quality", [0, 101, -1, 90.0, True, "90", None])
def test_encode_refuses_another_quality(quality):
    with pytest.raises(Refused, match="from 1 to 100"):
        encode(picture(), "jpg", quality)


def test_encode_refuses_what_is_not_an_image():
    with pytest.raises(ImageRefused, match="float64"):
        encode(np.zeros((4, 4)), "png")


def test_encode_refuses_what_a_jpg_cannot_hold():
    with pytest.raises(ImageRefused, match="70000 x 1 pixels do not fit a jpg"):
        encode(np.zeros((1, 70_000), np.uint8), "jpg")
