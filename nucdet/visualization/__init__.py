"""Images of nuclei: outlines on an image, predictions beside the truth, folders of both."""

from nucdet.visualization.comparison import draw_comparison
from nucdet.visualization.data_images import visualize_data
from nucdet.visualization.drawing import draw_instances
from nucdet.visualization.result_images import visualize_results

__all__ = ["draw_comparison", "draw_instances", "visualize_data", "visualize_results"]
