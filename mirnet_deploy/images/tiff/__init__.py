"""TIFF and BigTIFF: read in memory and in bands, and written."""
