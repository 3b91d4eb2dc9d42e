"""TensorBoard files, checked by the checksums of their records.

A file is a sequence of records: a length (8 bytes), its checksum, the content, its checksum (4 bytes each).
A checksum is a masked CRC-32C. Source: TensorFlow, "TFRecord and tf.train.Example".
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from aljax.errors import InvalidInputError
from aljax.records import files

POLYNOMIAL = 0x82F63B78  # of Castagnoli, bits reversed
MASK = 0xA282EAD8


def problems(path: Path) -> Iterator[str]:
    """Yields a line if a record of a file is damaged; a last one that was not written to its end is none."""
    try:
        content = files.read(path)
    except InvalidInputError as error:
        yield str(error)
        return
    place = 0
    while place + 12 <= len(content):
        length, of_length = struct.unpack_from("<QI", content, place)
        whole = _masked(content[place : place + 8]) == of_length
        end = place + 12 + length
        if whole and end + 4 > len(content):
            return
        if not whole or _masked(content[place + 12 : end]) != struct.unpack_from("<I", content, end)[0]:
            yield f"{path}: damaged (the checksum of the record at byte {place} differs)"
            return
        place = end + 4


def _masked(content: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = [_entry(byte) for byte in range(256)]
