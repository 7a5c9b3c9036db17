"""Camera RAW told from other TIFFs, by content. Needs no imaging library.

Source: DNG 1.7.1 and TIFF/EP (ISO 12234-2): the photometric interpretation of what a sensor saw.
"""

from __future__ import annotations

from mirnet_deploy.images.formats import HEADER_LENGTH, Format, sniff
from mirnet_deploy.images.ifd import Block
from mirnet_deploy.images.tiff.directories import all_directories, is_camera_raw


def format_of_content(block: Block) -> Format:
    """The format of a whole file, in memory or mapped, whatever its name says.

    Raises:
        ImageError: as `sniff`.
    """
    kind = sniff(bytes(block[:HEADER_LENGTH]))
    try:
        return "raw" if kind == "tiff" and is_camera_raw(all_directories(block)) else kind
    except ValueError:  # damaged, which its reader will say
        return kind
