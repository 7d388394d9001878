"""Reads image files of any microscope: formats, windows of large images, normalization."""
