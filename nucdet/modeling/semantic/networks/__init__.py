"""Networks that label pixels, one file each; MODEL.SEGMENTATION.NETWORK chooses one."""
