"""Random changes of training images: geometry, light and colour, copies of nuclei."""
