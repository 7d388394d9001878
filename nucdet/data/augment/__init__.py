"""Random changes of training images: geometry, light and color, copies of nuclei."""
