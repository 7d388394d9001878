"""Drawings: nuclei on their image, predictions next to the ground truth, curves and statistics.

Import from the modules, not from the package: those that draw load matplotlib, which takes a
second, while ``colors`` does not.
"""
