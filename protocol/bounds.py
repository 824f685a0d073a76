"""Types of message fields with the bounds that decoding enforces, so that no sender can name a value beyond them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from protocol.names import NAME_PATTERN

Instant = Annotated[float, msgspec.Meta(ge=0, le=253_402_300_799)]
"""POSIX seconds up to the end of the year 9999, which every calendar function can still show."""

Span = Annotated[float, msgspec.Meta(ge=0, le=31_622_400)]
"""Seconds, up to a leap year."""

Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A count that only grows; databases and the kernel hold it in 64 bits with a sign."""

Identifier = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
"""An identifier that one side made: it goes into paths, file names and key descriptions."""

Name = Annotated[str, msgspec.Meta(pattern=rf"\A{NAME_PATTERN}\Z")]
"""A name as `protocol.names.check_name` allows it."""

Word = Annotated[str, msgspec.Meta(max_length=64)]
"""A short term of a fixed vocabulary that may grow."""

Address = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Fa-f:.]{0,45}\Z")]
"""An IPv4 or IPv6 address in text, without a zone; empty where there is none."""

Spi = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
"""A security parameters index (RFC 4303, section 2.1); 0 where there is none."""

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
"""A UDP port; 0 where there is none."""

Milli = Annotated[int, msgspec.Meta(ge=0, le=1000)]
"""A share of one in thousandths."""
