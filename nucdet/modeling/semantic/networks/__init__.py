"""Semantic segmentation networks; MODEL.SEGMENTATION.NETWORK chooses one by its class name."""
