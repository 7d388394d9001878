"""Tuning of thresholds, searches over config keys, and cross-validation."""
