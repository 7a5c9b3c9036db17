"""Numbers of the TIFF format, and what they are called in messages.

Source: TIFF 6.0; Adobe's TIFF technical notes 1 to 3 and Photoshop TIFF notes; TIFF/EP (ISO 12234-2); DNG 1.7; libtiff.
"""

from __future__ import annotations

from collections.abc import Mapping

NEW_SUBFILE_TYPE, SUBFILE_TYPE = 254, 255
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, SAMPLES, STRIP_ROWS, STRIP_COUNTS, PLANAR = 273, 277, 278, 279, 284
RESOLUTION_ACROSS, RESOLUTION_DOWN, RESOLUTION_UNIT = 282, 283, 296
T4_OPTIONS, T6_OPTIONS = 292, 293
PREDICTOR, COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 317, 320, 322, 323, 324, 325
SUB_DIRECTORIES, EXTRA_SAMPLES, SAMPLE_FORMAT = 330, 338, 339
JPEG_TABLES, OLD_JPEG_START = 347, 513
YCBCR_COEFFICIENTS, YCBCR_SUBSAMPLING, YCBCR_POSITIONING, REFERENCE_BLACK_WHITE = 529, 530, 531, 532
XMP, IPTC, PHOTOSHOP, ICC_PROFILE, PHOTOSHOP_LAYERS = 700, 33723, 34377, 34675, 37724

PLAIN, CCITT_RLE, GROUP_3, GROUP_4, LZW, OLD_JPEG, JPEG, DEFLATE, OLD_DEFLATE = 1, 2, 3, 4, 5, 6, 7, 8, 32946
CCITT_RLE_WORDS, PACKBITS, LZMA, JPEG_2000, ZSTD, WEBP = 32771, 32773, 34925, 34712, 50000, 50001

COMPRESSIONS: Mapping[int, str] = {
    CCITT_RLE: "CCITT RLE",
    GROUP_3: "CCITT Group 3",
    GROUP_4: "CCITT Group 4",
    LZW: "LZW",
    OLD_JPEG: "old-style JPEG",
    JPEG: "JPEG",
    DEFLATE: "Deflate",
    9: "JBIG",
    10: "JBIG",
    22610: "JPEG XR",
    32766: "NeXT",
    CCITT_RLE_WORDS: "CCITT RLE",
    PACKBITS: "PackBits",
    32809: "ThunderScan",
    32908: "PixarFilm",
    32909: "PixarLog",
    OLD_DEFLATE: "Deflate",
    33003: "JPEG 2000 (Aperio)",
    33005: "JPEG 2000 (Aperio)",
    33007: "ALT JPEG",
    34661: "JBIG",
    34676: "SGI LogLuv",
    34677: "SGI LogLuv",
    JPEG_2000: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG (DNG)",
    LZMA: "LZMA",
    34933: "PNG",
    34934: "JPEG XR",
    ZSTD: "ZSTD",
    WEBP: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, MASK, CMYK, YCBCR = 0, 1, 2, 3, 4, 5, 6
COLOUR_FILTER_ARRAY, LINEAR_RAW = 32803, 34892

FOREIGN_COLOURS: Mapping[int, str] = {
    MASK: "a transparency mask",
    8: "CIELab",
    9: "ICCLab",
    10: "ITULab",
    COLOUR_FILTER_ARRAY: "camera RAW",
    32844: "LogL",
    32845: "LogLuv",
    LINEAR_RAW: "camera RAW",
    51177: "a depth map",
    52527: "a semantic mask",
}
"""Photometric interpretations that are not read."""

SEPARATE_PLANES, DIFFERENCES, REVERSED_BITS = 2, 2, 2
UNSPECIFIED, PREMULTIPLIED, STRAIGHT, COREL_STRAIGHT = 0, 1, 2, 999
"""Values of `EXTRA_SAMPLES`; Corel's number for straight alpha is one that libtiff knows too."""

SAMPLE_KINDS: Mapping[int, str] = {1: "unsigned", 2: "signed", 3: "float", 4: "undefined", 5: "complex", 6: "complex"}
"""Values of `SAMPLE_FORMAT`. Undefined samples are read as unsigned, as libtiff does."""

STRUCTURE = frozenset(
    {NEW_SUBFILE_TYPE, SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, 263, 264, 265, FILL_ORDER}
    | {STRIP_OFFSETS, SAMPLES, STRIP_ROWS, STRIP_COUNTS, 280, 281, PLANAR, 288, 289, 290, 291, T4_OPTIONS, T6_OPTIONS}
    | {297, 301, PREDICTOR, 318, 319, COLOUR_MAP, 321, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS}
    | {SUB_DIRECTORIES, 332, 333, 334, 336, 337, EXTRA_SAMPLES, SAMPLE_FORMAT, 340, 341, 342, 343, 344, 345, 346}
    | {JPEG_TABLES, 512, OLD_JPEG_START, 514, 515, 517, 518, 519, 520, 521}
    | {YCBCR_COEFFICIENTS, YCBCR_SUBSAMPLING, YCBCR_POSITIONING, REFERENCE_BLACK_WHITE}
    | {XMP, IPTC, PHOTOSHOP, ICC_PROFILE, PHOTOSHOP_LAYERS}
)
"""Tags that are not carried over in the EXIF block: those that say how the pixels are stored; and ICC profile, XMP and
IPTC, which are kept apart."""
