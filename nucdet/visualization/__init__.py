"""Images of nuclei: outlines on an image, predictions beside the ground truth, folders of both.

Import from the modules: those that draw load matplotlib, which takes a second, and colors do not.
"""
