"""Center voting: a network predicts for each pixel where the center of its nucleus lies."""
