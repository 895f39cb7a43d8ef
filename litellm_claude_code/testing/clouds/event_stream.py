"""Encode Amazon's binary event stream (`application/vnd.amazon.eventstream`).

A message is its length, the length of its headers, a CRC32 of these two, the headers, the payload, and a CRC32 of all.
Numbers are big-endian. botocore has only a decoder; tests/test_clouds_stand_in.py checks this encoder with it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from zlib import crc32

_STRING = 7
_PRELUDE_BYTES = 12
_CRC_BYTES = 4


def encode_message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Encode one message. All headers are strings."""
    encoded = b"".join(_encode_header(name, value) for name, value in headers.items())
    length = _PRELUDE_BYTES + len(encoded) + len(payload) + _CRC_BYTES
    lengths = struct.pack("!II", length, len(encoded))
    message = lengths + struct.pack("!I", crc32(lengths)) + encoded + payload
    return message + struct.pack("!I", crc32(message))


def _encode_header(name: str, value: str) -> bytes:
    name_bytes, value_bytes = name.encode(), value.encode()
    return struct.pack("!B", len(name_bytes)) + name_bytes + struct.pack("!BH", _STRING, len(value_bytes)) + value_bytes
