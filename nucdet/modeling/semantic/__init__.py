"""Networks that label pixels, and separations that make nuclei of them."""
