"""Mask R-CNN for many small nuclei: masks as crops, dense proposals, test-time augmentation."""
