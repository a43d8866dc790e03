"""What the bytes of a JPEG, PNG or WebP file say before anything is decoded.

Decoders forgive too much: OpenCV fills the missing part of a cut JPEG with gray, and shows the
first frame of an animation. So the file's own structure is walked first: no pixels are touched.
"""

from collections.abc import Iterator
from struct import error as StructError
from struct import unpack_from

from labkit.errors import ImageRefused
from labkit.i18n import _

_EXIF = b"Exif\0\0"


def read_orientation(data: bytes) -> int:
    """Check that a file is whole and holds one still picture; read how the camera was held.

    Returns:
        The EXIF orientation, 1 to 8; 1, as stored, if the file does not say.

    Raises:
        ImageRefused: not JPEG, PNG or WebP; cut short; or animated.
    """
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return _orientation(_walk_jpeg(data))
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _orientation(_walk(_png_chunks(data), b"acTL", b"eXIf"))
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _orientation(_walk(_webp_chunks(data), b"ANIM", b"EXIF"))
    except (StructError, IndexError):  # the walk ran past the end
        raise ImageRefused(_("Its end is missing.")) from None
    raise ImageRefused(_("It is not a JPEG, PNG or WebP file."))


def _walk_jpeg(data: bytes) -> bytes:
    """Find the end of the picture (ITU-T T.81, annex B); return the EXIF block."""
    exif, at = b"", 2
    while True:
        if data[at] != 0xFF:
            raise ImageRefused(_("It is damaged at byte {at}.").format(at=at))
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        (length,) = unpack_from(">H", data, at + 2)
        if marker == 0xE1 and data.startswith(_EXIF, at + 4):
            exif = exif or data[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xDA:
            break
    # A thumbnail has its own end, but before the first scan; inside a scan, FF D9 is the end.
    # Phones append more after it (depth maps, video), so it need not be last; it mostly is, so the
    # search is from the end.
    if data.rfind(b"\xff\xd9", at) < 0:
        raise ImageRefused(_("Its end is missing."))
    return exif


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, kind = 8, b""
    while kind != b"IEND":
        length, kind = unpack_from(">I4s", data, at)
        unpack_from(">I", data, at + 8 + length)  # its checksum is there
        yield kind, data[at + 8 : at + 8 + length] if kind == b"eXIf" else b""
        at += 12 + length


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    (size,) = unpack_from("<I", data, 4)
    if len(data) < 8 + size:
        raise IndexError
    at = 12
    while at + 8 <= 8 + size:
        kind, length = unpack_from("<4sI", data, at)
        yield kind, data[at + 8 : at + 8 + length] if kind == b"EXIF" else b""
        at += 8 + length + length % 2


def _walk(chunks: Iterator[tuple[bytes, bytes]], animation: bytes, exif: bytes) -> bytes:
    found = b""
    for kind, content in chunks:
        if kind == animation:
            raise ImageRefused(_("It is animated."), _("Send one still picture."))
        if kind == exif:
            found = content
    return found


def _orientation(exif: bytes) -> int:
    """Tag 0x0112 of the first directory of a TIFF block (CIPA DC-008, "Orientation")."""
    exif = exif.removeprefix(_EXIF)
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (start,) = unpack_from(f"{order}I", exif, 4)
        (count,) = unpack_from(f"{order}H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _count, value = unpack_from(f"{order}HHIH", exif, entry)
            if tag == 0x0112 and kind == 3 and 1 <= value <= 8:
                return int(value)
    except StructError:  # a damaged block does not damage the picture
        pass
    return 1
