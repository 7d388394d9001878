"""Scores of predictions: the Kaggle precision, COCO's AP, submissions, and files of other tools.

Import from the modules: those that read files load pandas, and a network's package needs none.
"""
