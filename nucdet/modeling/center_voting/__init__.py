"""Center voting: each pixel says where its nucleus has its center (no boxes, no proposals)."""
