"""Networks that label pixels, and separations that make nuclei of them."""

from nucdet.modeling.semantic.segmentor import SemanticInstanceSegmentor

__all__ = ["SemanticInstanceSegmentor"]
