"""Reads and writes protobuf messages field by field, without a schema and without a library.

Source: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator


def fields_of(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(field number, bytes) of every field of one message, in order; the bytes of a varint are left out.

    Raises:
        ValueError: the message ends within a field, or has a wire type that is unknown.
    """
    for number, value, _ in entries_of(message):
        yield number, value


def entries_of(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """As `fields_of`, and with each field all of its bytes, its number and length included.

    Raises:
        ValueError: as `fields_of`.
    """
    at = 0
    while at < len(message):
        begin = at
        tag, at = _varint(message, at)
        size = 0
        match tag & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                size = 8
            case 2:
                size, at = _varint(message, at)
            case 5:
                size = 4
            case kind:
                raise ValueError(f"unknown wire type {kind} at byte {at}")
        if at + size > len(message):
            raise ValueError(f"it ends at byte {len(message)}, in the middle of a field")
        yield tag >> 3, message[at : at + size], message[begin : at + size]
        at += size


def varint_of(entry: memoryview) -> int:
    """The number in a field of one, from all of its bytes, as `entries_of` gives them.

    >>> varint_of(memoryview(bytes.fromhex("089601")))
    150
    """
    return _varint(entry, _varint(entry, 0)[1])[0]


def written(number: int, value: bytes) -> bytes:
    """A field of bytes, text or a message, with its number and length.

    >>> written(2, b"testing").hex()
    '120774657374696e67'
    """
    return _written_varint(number << 3 | 2) + _written_varint(len(value)) + value


def _written_varint(value: int) -> bytes:
    """
    >>> _written_varint(150).hex()
    '9601'
    """
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """(value, position after it) of the base-128 varint at byte `at`.

    >>> _varint(memoryview(bytes([0x96, 0x01])), 0)
    (150, 2)
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError(f"it ends at byte {len(message)}, in the middle of a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number at byte {at} has no end")
