"""Scores of predictions: the Kaggle precision, COCO's AP, submissions, and files of other tools.

This package exports nothing, so that importing one module does not load pandas for the others.
"""
