"""Picture files: read with their alpha, metadata and depth, and written back with them."""

from __future__ import annotations

from mirnet_deploy.images.picture import Picture
from mirnet_deploy.images.reading import DEFAULT_MAX_PIXELS, read_image

__all__ = ["DEFAULT_MAX_PIXELS", "Picture", "read_image"]
