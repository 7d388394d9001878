"""Converts data sets from their own layouts to COCO JSON, one module per data set."""
