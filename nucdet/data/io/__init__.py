"""Image files of any microscope: reading, windows of large ones, normalization."""
