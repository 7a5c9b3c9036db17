"""ICC profiles, and the conversion to sRGB and back."""
