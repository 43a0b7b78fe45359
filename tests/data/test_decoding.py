"""What files hold, against the table of docs/inputs.md, and the cache: read back only as it was written."""

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from dcd_utils import data, files
from dcd_utils.data import decoding

PAGE = (Path(__file__).parents[2] / "docs" / "inputs.md").read_text(encoding="utf-8")
TABLE = dict(re.findall(r"^\| (.+?) \| (.+) \|$", PAGE.split("## Image files")[1].split("## ")[0], re.MULTILINE)[1:])
SIDE = 16


def png(depth, color_type, pixel, extra=(), size=(SIDE, SIDE)):
    """A PNG file of one colour, as bytes: what Pillow does not write."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows = b"".join(b"\0" + np.array([pixel] * SIDE, ">u2" if depth == 16 else "u1").tobytes() for _ in range(SIDE))
    header = struct.pack(">IIBBBBB", *size, depth, color_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def tiff(bits, body, zero_is_white=False, sample_format=1):
    """A grey TIFF file of 16x16 pixels, as bytes: what Pillow does not write."""
    tags = {256: SIDE, 257: SIDE, 258: bits, 259: 1, 262: 0 if zero_is_white else 1, 273: 134, 277: 1, 278: SIDE}
    tags |= {279: len(body), 339: sample_format}
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + body


def saved(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def full(value, dtype=np.uint8):
    return np.full((SIDE, SIDE, *np.shape(value)), value, dtype)


def array(value, dtype=np.uint8, kind="PNG"):
    return saved(Image.fromarray(full(value, dtype)), kind)


def palette(**options):
    image = Image.new("P", (SIDE, SIDE), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return saved(image, **options)


def lab():
    source = Image.new("RGB", (SIDE, SIDE), (200, 100, 50))
    return saved(ImageCms.profileToProfile(
        source, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    ), "TIFF")  # fmt: skip


def turned():
    """Red on top, as the camera saw it; the file has red on the left."""
    pixels, exif = full((0, 0, 255)), Image.Exif()
    pixels[:, :8] = (255, 0, 0)
    exif[0x0112] = 6
    return saved(Image.fromarray(pixels), exif=exif)


def wide():
    pixels = np.zeros((2 * SIDE, 6 * SIDE, 3), np.uint8)
    pixels[:, SIDE : 5 * SIDE] = (1, 2, 3)
    return saved(Image.fromarray(pixels))


RGBA = full((200, 100, 0, 128))
XYZ = ImageCms.createProfile("XYZ")
RED_ON_TOP = np.repeat([[[255, 0, 0]], [[0, 0, 255]]], 8, axis=0)
# what a row of the table speaks of: files that show it, and the pixel (or pixels) that must come out, or the refusal
CASES = {
    "RGB, 8 bits": ([array((1, 2, 3)), array((1, 2, 3), kind="TIFF"), array((1, 2, 3), kind="BMP")], (1, 2, 3)),
    "grey, 8 bits": ([array(100), array(100, kind="JPEG")], 100),
    "black and white, 1 bit": ([saved(Image.new("1", (SIDE, SIDE), 1), kind) for kind in ("PNG", "TIFF")], 255),
    "grey with transparency": ([saved(Image.new("LA", (SIDE, SIDE), (100, 128)))], 177),
    "RGB with transparency": ([saved(Image.fromarray(RGBA), kind) for kind in ("PNG", "TIFF")], (227, 177, 127)),
    "one colour that is transparent (PNG)": (
        [png(8, 0, [7], [(b"tRNS", b"\0\7")]), png(8, 2, [7, 8, 9], [(b"tRNS", b"\0\7\0\x08\0\x09")])], 255
    ),
    "a palette": ([palette(), palette(kind="GIF"), palette(kind="TIFF")], (10, 20, 30)),
    "a palette with a transparent colour": ([palette(transparency=1), palette(kind="GIF", transparency=1)], 255),
    "CMYK": ([saved(Image.new("CMYK", (SIDE, SIDE), (0, 255, 255, 0)), "TIFF")], (255, 0, 0)),
    "YCbCr (TIFF)": ([saved(Image.new("YCbCr", (SIDE, SIDE), (76, 85, 255)), "TIFF")], (254, 0, 0)),
    "LAB (TIFF)": ([lab()], (200, 100, 50)),
    "grey, 16 bits": ([array(30_000, np.uint16), array(30_000, np.uint16, "TIFF")], 116),
    "grey, 16 bits, most significant byte first (TIFF)": (
        [saved(Image.frombytes("I;16B", (SIDE, SIDE), full(30_000, ">u2").tobytes()), "TIFF")], 116
    ),
    "grey, 16 bits, one of them transparent (PNG)": (
        [png(16, 0, [30_000], [(b"tRNS", struct.pack(">H", 30_000))])], 255
    ),
    "grey, 16 bits, in which 0 is white (TIFF)": ([tiff(16, full(30_000, "<u2").tobytes(), zero_is_white=True)], 138),
    "RGB, 16 bits": ([png(16, 2, [30_000, 0, 65_535])], (117, 0, 255)),
    "grey, 12 bits (TIFF)": ([tiff(12, b"\xab\xca\xbc" * 128)], 0xABC * 255 // 4095),
    "PGM with a maximum of its own": ([b"P5 16 16 1000\n" + full(500, ">u2").tobytes()], 127),
    "integers of 32 bits from 0 to 65,535": ([array(30_000, np.int32, "TIFF")], 116),
    "8 to 14 bits stored in 16, grey": (
        [array(4095, np.uint16), array(16_383, np.uint16, "TIFF"), array(255, np.int32, "TIFF")], "multiply their"
    ),
    "8 to 14 bits stored in 16, RGB": ([png(16, 2, [4095, 0, 0]), png(16, 2, [0, 0, 1023])], "multiply their"),
    "integers below 0 or above 65,535": (
        [array(-1, np.int32, "TIFF"), array(65_536, np.int32, "TIFF"), tiff(32, full(2**32 - 1, "<u4").tobytes())],
        "signed, 32-bit or",
    ),
    "integers of 8 bits with a sign (TIFF)": ([tiff(8, full(250).tobytes(), sample_format=2)], "signed, 32-bit or"),
    "floating-point numbers": (
        [array(0.5, np.float32, "TIFF"), tiff(64, full(0.5, "<f8").tobytes(), sample_format=3)], "cannot be read"
    ),
    "several pictures: animation, pages": (
        [saved(Image.fromarray(full((255, 0, 0))), kind, save_all=True, append_images=[Image.new("RGB", (SIDE, SIDE))])
         for kind in ("GIF", "TIFF", "PNG")], (255, 0, 0)
    ),
    "a note by the camera how it was held (EXIF)": ([turned()], RED_ON_TOP),
    "another size or shape than a square": ([wide()], (1, 2, 3)),
    "an embedded colour profile (ICC)": (
        [saved(Image.fromarray(full((1, 2, 3))), icc_profile=ImageCms.ImageCmsProfile(XYZ).tobytes())], (1, 2, 3)
    ),
    "more than 100 megapixels": (
        [png(8, 2, [1, 2, 3], size=(10_001, 10_000)), png(8, 2, [1, 2, 3], size=(30_000, 30_000))],
        "more than 100 megapixels|exceeds limit",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("row", CASES)
def test_a_row_of_the_table_of_image_files(row, tmp_path):
    contents, expected = CASES[row]
    assert TABLE[row].startswith("refused") == isinstance(expected, str)
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}.png"  # whatever it is
        path.write_bytes(content)
        if isinstance(expected, str):
            with pytest.raises(ValueError, match=expected):
                decoding.decode_parts("photos", [number], {"train": [path]}, SIDE, cache=False)
        else:
            arrays = decoding.decode_parts("photos", [number], {"train": [path]}, SIDE, cache=False)
            result = arrays["train"][0].transpose(1, 2, 0)
            allowed = 1 if row.startswith("LAB") else 0
            assert (abs(result.astype(int) - expected) <= allowed).all(), (number, result[0, 0])


def test_the_table_has_a_test_for_each_row_and_lists_the_endings():
    assert [*TABLE] == [*CASES]
    assert re.findall(r"`(\.\w+)`", PAGE.split("## Image files")[1].split("## ")[0]) == sorted(decoding.ENDINGS)


@pytest.mark.parametrize("factor, bits", [(1, 8), (4, 10), (16, 12), (64, 14)])
def test_a_scaled_image_keeps_its_levels_as_the_refusal_advises(factor, bits, tmp_path):
    """Dark images among bright ones are as dark as they are; where all are dark, they hold fewer bits."""
    ramp = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * factor
    dark, bright, all_black = tmp_path / "dark.png", tmp_path / "bright.png", tmp_path / "black.png"
    Image.fromarray(ramp).save(dark)
    Image.fromarray(ramp * (65_536 // 256 // factor)).save(bright)
    Image.fromarray(ramp * 0).save(all_black)

    def decode(**parts):
        return decoding.decode_parts("scans", [], parts, SIDE, cache=False)

    advice = rf'no 16-bit image of "scans" has a value above {255 * factor:,}, .* by {2 ** (16 - bits)} and save'
    with pytest.raises(ValueError, match=advice):
        decode(train=[dark, all_black], test=[dark])
    result = decode(train=[dark], test=[bright])
    assert result["train"].max() == 255 * factor // 257 and len(np.unique(result["test"])) == 255
    assert not decode(train=[all_black], test=[])["train"].any()


def test_every_format_is_read_under_its_endings_and_known_by_its_content(tmp_path):
    """Those that Pillow writes, too, in the folder of a class; PFM holds floating-point numbers."""
    kinds = {ending: kind for ending, kind in Image.registered_extensions().items() if ending in decoding.ENDINGS}
    written = sorted(ending for ending, kind in kinds.items() if kind in Image.SAVE and ending != ".pfm")
    assert len(written) > 25 and {".jfif", ".jpe", ".jp2", ".tga", ".pnm"} < {*written}
    for part in ("train", "test"):
        for name, level in (("bright", 200), ("dark", 40)):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for ending in written:
                image = Image.new("RGB", (32, 32), (level,) * 3)
                image.save(folder / f"image{ending.upper()}", kinds[ending])
            for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP"):
                image.save(folder / kind, kind)
    train, test = data.load("folder", root=tmp_path / "images", device="cpu")
    assert len(train) == len(test) == 2 * (len(written) + 5)
    for part in (train, test):
        assert ((part.images.amax((1, 2, 3)).int() - (200 - 160 * part.labels)).abs() <= 3).all()


@pytest.mark.parametrize("error, problem", [
    (PermissionError(13, "Permission denied", "x.png"), "Permission denied"),
    (IsADirectoryError(21, "Is a directory", "x.png"), "Is a directory"),
    (OSError("broken data stream"), "broken data stream"),
])  # fmt: skip
def test_what_the_system_says_comes_without_its_number(error, problem, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *_, **__: (_ for _ in ()).throw(error))
    with pytest.raises(ValueError, match=rf'^"x.png" cannot be read as an image \({problem}\): replace'):
        decoding.decode_parts("photos", [], {"train": ["x.png"]}, SIDE, cache=False)


ARRAYS = {
    "train": np.arange(2 * 3 * 16 * 16, dtype=np.uint8).reshape(2, 3, 16, 16),
    "test": np.full((1, 3, 16, 16), 7, np.uint8),
}


@pytest.fixture
def calls():
    return []


@pytest.fixture
def load(calls):
    """load() -> the arrays, decoded or read back, which must be right; `calls` counts the decodings."""

    def make():
        calls.append("decoded")
        return ARRAYS

    def load():
        arrays = decoding.cached("photos", ["key", 32], make)
        assert {*arrays} == {*ARRAYS} and all(np.array_equal(arrays[part], ARRAYS[part]) for part in ARRAYS)
        return arrays

    return load


@pytest.fixture
def stored(load):
    load()
    [path] = (files.data_dir() / "cache").iterdir()
    return path


def test_what_was_written_is_read_back_and_another_key_is_not(stored, load, calls):
    load()
    assert calls == ["decoded"]
    other = decoding.cached("photos", ["another key", 32], lambda: {"train": ARRAYS["test"]})
    assert np.array_equal(other["train"], ARRAYS["test"]) and load()["train"].shape == (2, 3, 16, 16)


def test_a_flipped_bit_anywhere_is_noticed(stored, load, calls):
    content = stored.read_bytes()
    header_end = 8 + int.from_bytes(content[:8], "little")
    places = {*range(8), *np.linspace(8, header_end - 1, 30, dtype=int)}
    places |= {*np.linspace(header_end, len(content) - 1, 30, dtype=int)}
    assert len(places) == 68
    for number, place in enumerate(sorted(places)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << number % 8
        stored.write_bytes(damaged)
        calls.clear()
        load()
        assert calls == ["decoded"] and stored.read_bytes() == content, f"bit {number % 8} of byte {place}"


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 9, 100, 0.5, 0.9, -1])
def test_a_truncated_or_emptied_file_is_decoded_again(stored, load, calls, kept):
    content = stored.read_bytes()
    stored.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    load()
    load()
    assert calls == ["decoded"] * 2 and stored.read_bytes() == content


def test_a_file_without_a_checksum_is_decoded_again(stored, load, calls):
    from safetensors.numpy import save

    stored.write_bytes(save({**ARRAYS, "test": ARRAYS["test"] + 1}))
    load()
    assert calls == ["decoded"] * 2


def test_partial_files_beside_it_and_a_folder_in_its_place_do_no_harm(stored, load, calls, capsys):
    for name in (f".{stored.name}.1.partial", f"{stored.name}.partial", f".{stored.name}.partial"):
        stored.with_name(name).write_bytes(stored.read_bytes()[:500])
    load()
    assert calls == ["decoded"]
    stored.unlink()
    stored.mkdir()
    load()
    assert calls == ["decoded"] * 2 and "could not be kept" in capsys.readouterr().out
