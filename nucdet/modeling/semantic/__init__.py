"""Semantic segmentation: networks that classify pixels, their targets, losses and architecture."""
