"""The mark that a result is synthetic, which programs read: an XMP packet in a box at the end of an MP4.

IPTC's digital source type ``compositeWithTrainedAlgorithmicMedia``; no date, so that the same input gives the same bytes.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from xml.sax.saxutils import escape

BOX = uuid.UUID("be7acfcb-97a9-42e8-9c71-999491e3afac")  # of XMP in ISO media files: XMP specification, part 3
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{words}</rdf:li></rdf:Alt></dc:description>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


def packet(words: str) -> bytes:
    """The XMP packet with a description."""
    return PACKET.format(source_type=SOURCE_TYPE, words=escape(words)).encode()


def append(path: Path, words: str) -> None:
    """Write the mark at the end of an MP4; players skip a box that they don't know."""
    content = BOX.bytes + packet(words)
    with path.open("ab") as file:
        file.write((len(content) + 8).to_bytes(4, "big") + b"uuid" + content)


def read(path: Path) -> str | None:
    """The XMP packet of a file's last box, or None where it has none."""
    data, at = path.read_bytes(), 0
    found = None
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"uuid" and data[at + 8 : at + 24] == BOX.bytes:
            found = data[at + 24 : at + size].decode()
        if size < 8:
            break
        at += size
    return found
