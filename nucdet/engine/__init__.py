"""Runs: training, evaluation, prediction of files."""
