"""Many runs for one choice: thresholds, searches over config keys, cross-validation."""
