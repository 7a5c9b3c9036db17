"""What an exported file says of itself: its metadata, its sidecar, its context, and where models lie."""
