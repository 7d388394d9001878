"""The names of cell types in the catalog and in COCO JSON."""

# file names begin with A172_, BT474_, BV2_, Huh7_, MCF7_, SHSY5Y_, SkBr3_, SKOV3_
LIVECELL_TYPES = ("a172", "bt474", "bv2", "huh7", "mcf7", "shsy5y", "skbr3", "skov3")

# in the order of the category ids, as in train.csv's column cell_type
SARTORIUS_TYPES = ("shsy5y", "astro", "cort")
