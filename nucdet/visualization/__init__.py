"""Images of nuclei: outlines on an image, and predictions next to the ground truth.

Import from the modules, not from the package: those that draw load matplotlib, which takes a
second, while ``colors`` does not.
"""
