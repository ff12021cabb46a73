"""A read-only view of a store of studies: fronts, learning curves and the reasons behind what was left out."""
