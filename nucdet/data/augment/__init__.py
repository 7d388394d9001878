"""Augmentation of training images: geometry, light and color, copy-paste of nuclei."""
