"""Mask R-CNN for many small nuclei: masks as crops, dense proposals, several views."""
