"""From each data set's own layout to COCO JSON: one module for each data set."""
